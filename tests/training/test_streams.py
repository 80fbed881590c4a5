"""Random streams: apart from each other, apart from torch's own, and restorable."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from bitlens.training.streams import PURPOSES, Streams, seed_for


@given(seed=st.integers(0, 2**62), purpose=st.text(max_size=8))
def test_a_seed_fits_a_generator(seed: int, purpose: str) -> None:
    made = seed_for(seed, purpose)
    assert 0 <= made < 2**63
    torch.Generator().manual_seed(made)


def test_no_two_streams_coincide() -> None:
    purposes = [*PURPOSES, "init", "objective", "validation", "subset"]
    made = [seed_for(seed, purpose) for seed in range(200) for purpose in purposes]
    assert len(set(made)) == len(made)
    # "1/2x" must not be read as seed 1, purpose "2x" and seed 12, purpose "x" alike.
    assert seed_for(1, "2x") != seed_for(12, "x")


def test_streams_do_not_touch_one_another_nor_the_global_one() -> None:
    alone, both = Streams(3), Streams(3)
    before = torch.get_rng_state()
    torch.rand(5, generator=both["order"])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(
        torch.rand(4, generator=alone["augmentation"]),
        torch.rand(4, generator=both["augmentation"]),
    )


def test_restore_continues_where_the_state_was_taken() -> None:
    streams = Streams(0)
    torch.rand(1000, generator=streams["order"])
    state = streams.state()
    expected = {p: torch.rand(7, generator=streams[p]) for p in PURPOSES}
    other = Streams(99)
    other.restore(state)
    for purpose in PURPOSES:
        assert torch.equal(torch.rand(7, generator=other[purpose]), expected[purpose])


def test_streams_of_different_seeds_differ() -> None:
    drawn = [torch.rand(3, generator=Streams(seed)["order"]).tolist() for seed in range(5)]
    assert len({tuple(values) for values in drawn}) == 5
