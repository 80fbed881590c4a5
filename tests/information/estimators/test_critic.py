"""Critics never claim more than there is, and find most of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.information.estimators.critic import (
    PAIRS,
    PROBE,
    CriticBound,
    Training,
    bound_label_information,
    bound_pair_information,
)

QUICK = replace(PAIRS, hidden=64, steps=400, batch=128, rate=2e-3)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal_pairs(samples: int, r: float, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = draw(d)
    x = torch.randn(samples, d, generator=generator)
    return x, r * x + math.sqrt(1 - r * r) * torch.randn(samples, d, generator=generator)


def within(found: CriticBound, truth: float, most: float) -> None:
    """Not above the truth by more than four standard errors, and at least `most` of it."""
    assert 0 < found.standard_error < 0.15
    assert found.bound <= truth + 4 * found.standard_error
    assert found.bound >= most * truth - 4 * found.standard_error


@pytest.mark.parametrize(
    ("d", "r"), [(1, 0.0), (1, 0.5), (1, 0.9), (2, 0.5), (3, 0.75), (5, 0.5), (5, 0.75)]
)
def test_pairs_of_normals(d: int, r: float) -> None:
    found = bound_pair_information(*normal_pairs(6000, r, d), QUICK)
    within(found, -0.5 * d * math.log2(1 - r * r), 0.85)
    assert found.ceiling == pytest.approx(7)


def test_a_copy_reaches_the_ceiling_and_not_more() -> None:
    x = torch.randn(6000, 8, generator=draw())
    found = bound_pair_information(x, x, QUICK)
    assert 6.5 < found.bound <= 7


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize(
    ("flip", "truth"), [(0.05, 0.713603), (0.11, 0.500084), (0.25, 0.188722), (0.5, 0.0)]
)
def test_labels_behind_a_binary_symmetric_channel(flip: float, truth: float, hidden: int) -> None:
    generator = draw()
    labels = torch.randint(0, 2, (6000,), generator=generator)
    flipped = labels ^ (torch.rand(6000, generator=generator) < flip).long()
    found = bound_label_information(
        (2.0 * flipped - 1)[:, None], labels, Training(hidden=hidden, steps=300)
    )
    within(found, truth, 0.97)
    assert found.samples == 1500 and found.ceiling == pytest.approx(1, abs=0.01)


def test_repeated_noisy_bits_are_pooled() -> None:
    """Nine copies through a channel that flips one in ten: .9954 bit together, .531 each."""
    generator = draw()
    labels = torch.randint(0, 2, (6000,), generator=generator)
    flips = (torch.rand(6000, 9, generator=generator) < 0.1).long()
    found = bound_label_information(2.0 * (labels[:, None] ^ flips) - 1, labels)
    within(found, 0.9954, 0.98)


def test_exclusive_or_needs_the_hidden_layer() -> None:
    bits = torch.randint(0, 2, (4000, 2), generator=draw())
    labels = bits[:, 0] ^ bits[:, 1]
    linear = bound_label_information(2 * bits - 1, labels)
    assert linear.bound < 4 * linear.standard_error
    assert bound_label_information(2 * bits - 1, labels, Training(hidden=16)).bound > 0.95


def test_a_wide_layer_of_noise_knows_nothing_where_the_plug_in_says_everything() -> None:
    labels = torch.randint(0, 10, (4000,), generator=draw())
    signs = torch.randn(4000, 256, generator=draw(1)).sign()
    found = bound_label_information(signs, labels)
    assert found.bound < 0.01
    assert found.ceiling == pytest.approx(math.log2(10), abs=0.02)


def test_one_seed_one_number() -> None:
    x, y = normal_pairs(1200, 0.8, 1)
    labels = (y[:, 0] > 0).long()
    short = replace(QUICK, steps=30)
    assert bound_pair_information(x, y, short) == bound_pair_information(x, y, short)
    assert bound_label_information(x, labels) == bound_label_information(x, labels)
    other = replace(PROBE, seed=1)
    assert bound_label_information(x, labels) != bound_label_information(x, labels, other)


def test_scale_offset_and_dead_units_change_nothing_that_matters() -> None:
    x, y = normal_pairs(2000, 0.9, 1)
    labels = (y[:, 0] > 0).long()
    plain = bound_label_information(x, labels)
    shifted = bound_label_information(1e4 * x + 1e6, labels)
    assert shifted.bound == pytest.approx(plain.bound, abs=0.01)
    dead = bound_label_information(torch.cat([x, torch.full_like(x, 0.1)], 1), labels)
    assert dead.bound == pytest.approx(plain.bound, abs=0.02)


def test_the_global_generator_is_left_alone() -> None:
    x, y = normal_pairs(600, 0.5, 1)
    before = torch.random.get_rng_state()
    bound_label_information(x, (y[:, 0] > 0).long(), Training(hidden=4, steps=5))
    bound_pair_information(x, y, Training(hidden=4, steps=5, batch=32))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (Training(hidden=-1), "hidden=-1"),
        (Training(steps=0), "steps=0"),
        (Training(batch=1), "batch=1"),
        (Training(rate=0), "rate=0"),
        (Training(held_out=0.9), "held_out=0.9"),
    ],
)
def test_bad_training(training: Training, words: str) -> None:
    with pytest.raises(BitlensError, match=words):
        bound_label_information(torch.rand(100, 2), torch.arange(100) % 2, training)


def test_pairs_need_two_held_out_batches_and_a_hidden_layer() -> None:
    x = torch.rand(1000, 2)
    with pytest.raises(BitlensError, match="a smaller batch"):
        bound_pair_information(x, x)
    with pytest.raises(BitlensError, match="hidden=0"):
        bound_pair_information(x, x, Training(hidden=0))
