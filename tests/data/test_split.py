from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.data.split import hold_out
from bitlens.errors import BitlensError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(4, 30), min_size=2, max_size=5),
    fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**31),
)
def test_is_a_partition_balanced_over_classes(counts, fraction, seed):
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=seeded(seed))]
    train, held = hold_out(labels, fraction, seeded(seed))
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(len(labels)))
    assert train.tolist() == sorted(train.tolist()) and held.tolist() == sorted(held.tolist())
    taken = torch.bincount(labels[held], minlength=len(counts)).tolist()
    assert taken == [round(fraction * count) for count in counts]


def test_is_drawn_by_the_generator():
    labels = torch.arange(2).repeat_interleave(100)
    first = hold_out(labels, 0.3, seeded(0))[1]
    assert torch.equal(first, hold_out(labels, 0.3, seeded(0))[1])
    assert not torch.equal(first, hold_out(labels, 0.3, seeded(1))[1])


def test_every_class_stays_in_train():
    train, held = hold_out(torch.tensor([0, 1, 1, 1, 1]), 0.9, seeded(0))
    assert 0 in train.tolist()
    assert len(held) == 3


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_refuses_a_fraction_outside(fraction):
    with pytest.raises(BitlensError, match="between 0 and 1"):
        hold_out(torch.tensor([0, 1]), fraction, seeded(0))


def test_refuses_to_hold_out_nothing():
    with pytest.raises(BitlensError, match="leaves none"):
        hold_out(torch.tensor([0, 0, 1, 1]), 0.1, seeded(0))
