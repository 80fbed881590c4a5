"""Sub-bit nets against brute force: the nearest pattern, both gradients, and what a 25th step changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import bitlens
from bitlens import BitlensError, after_step, before_step, binarize
from bitlens.methods.bireal import MeanMagnitudeWeight
from bitlens.methods.contract import Method, Progress, WeightBinarizer
from bitlens.methods.reactnet import REACTNET
from bitlens.methods.subbit import (
    PERIOD,
    SUBBIT,
    SUBBIT4,
    SUBBIT5,
    CodebookWeight,
    group_length,
    pattern_entropy,
    subbit,
)
from bitlens.models import create
from bitlens.models.layers import BinaryConv2d, binary_layers
from bitlens.training.recipe import Recipe
from bitlens.training.schedule import make_optimizer


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def codebook(latent: Tensor, tau: int, seed: int = 0) -> CodebookWeight:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CodebookWeight(latent, tau)


def parts(weight: Tensor, length: int) -> list[np.ndarray]:
    """The groups of a weight, cut by hand; the last of a filter may be short."""
    filters = weight.detach().flatten(1).numpy()
    return [f[start : start + length] for f in filters for start in range(0, len(f), length)]


def rows(binarizer: CodebookWeight) -> set[tuple[float, ...]]:
    return {tuple(row) for row in binarizer.patterns.tolist()}


@settings(deadline=None, max_examples=40)
@given(
    shape=st.sampled_from(
        [(5, 3, 3, 3), (4, 13), (3, 2, 1, 5), (6, 3, 1, 1), (4, 8), (2, 1, 3, 3)]
    ),
    tau=st.integers(1, 6),
    seed=st.integers(0, 2**20),
)
def test_every_group_takes_the_nearest_pattern(shape: tuple[int, ...], tau: int, seed: int) -> None:
    latent = normal(*shape, seed=seed)
    tau = min(tau, group_length(latent) - 1)
    binarizer = codebook(latent, tau, seed)
    signs, scale = binarizer.decompose(latent)
    patterns = binarizer.patterns.numpy()
    for group, taken in zip(
        parts(latent, binarizer.length), parts(signs, binarizer.length), strict=True
    ):
        distances = ((group - patterns[:, : len(group)]) ** 2).sum(1)
        assert np.array_equal(taken, patterns[distances.argmin(), : len(group)])
    assert torch.equal(scale, latent.abs().flatten(1).mean(1))
    assert torch.equal(binarizer(latent), signs * scale.view(-1, *[1] * (latent.dim() - 1)))


def test_equally_near_patterns_give_the_first() -> None:
    latent = torch.zeros(2, 2, 3, 3)
    binarizer = codebook(latent, 3)
    signs, _ = binarizer.decompose(latent)
    assert torch.equal(signs.view(4, 9), binarizer.patterns[0].expand(4, 9))


@pytest.mark.parametrize("tau", [1, 4, 6, 8])
def test_a_fresh_codebook_holds_distinct_patterns_of_the_seed(tau: int) -> None:
    latent = normal(4, 4, 3, 3)
    first, again, other = (codebook(latent, tau, seed) for seed in (3, 3, 4))
    assert first.patterns.shape == (2**tau, 9)
    assert set(first.patterns.unique().tolist()) == {-1.0, 1.0}
    assert len(rows(first)) == 2**tau
    assert torch.equal(first.codebook, first.patterns)
    assert torch.equal(first.patterns, again.patterns) and torch.equal(first.seed, again.seed)
    assert not torch.equal(first.patterns, other.patterns)


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (4, 13)])
def test_gradients_are_the_clipped_one_and_the_sum_over_takers(shape: tuple[int, ...]) -> None:
    latent = normal(*shape, seed=1).requires_grad_()
    binarizer = codebook(latent.detach(), 3)
    upstream = normal(*shape, seed=2)
    binarizer(latent).backward(upstream)
    assert latent.grad is not None and binarizer.codebook.grad is not None
    assert torch.equal(latent.grad, torch.where(latent.abs() < 1, upstream, 0.0))
    expected = np.zeros((8, binarizer.length))
    patterns = binarizer.patterns.numpy()
    for group, arrived in zip(
        parts(latent, binarizer.length), parts(upstream, binarizer.length), strict=True
    ):
        nearest = (patterns[:, : len(group)] @ group).argmax()
        expected[nearest, : len(group)] += arrived
    assert np.allclose(binarizer.codebook.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


def convolution(method: Method = SUBBIT4, *, seed: int = 0) -> BinaryConv2d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        source = nn.Conv2d(6, 8, 3, padding=1)
        return BinaryConv2d(source, method, "subbit", Progress(), 0).double()


def step(layer: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    optimizer.zero_grad()
    (
        layer(normal(3, 6, 5, 5, seed=number)) - normal(3, 8, 5, 5, seed=99)
    ).square().mean().backward()
    before_step(layer)
    optimizer.step()
    after_step(layer)


def own(layer: BinaryConv2d) -> CodebookWeight:
    assert isinstance(layer.weight_binarizer, CodebookWeight)
    return layer.weight_binarizer


def test_the_codebook_moves_in_every_25th_step_alone() -> None:
    layer = convolution()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5)
    moved = []
    for number in range(1, 2 * PERIOD + 2):
        before = own(layer).codebook.detach().clone(), own(layer).patterns.clone()
        latent = layer.weight.detach().clone()
        step(layer, optimizer, number)
        assert not torch.equal(latent, layer.weight)
        if not torch.equal(before[0], own(layer).codebook):
            moved.append(number)
        else:
            assert torch.equal(before[1], own(layer).patterns)
        assert len(rows(own(layer))) == 16
        assert layer.signs().reshape(-1, 9).unique(dim=0).shape[0] <= 16
    assert moved == [25, 50] and int(own(layer).steps) == 51


@torch.no_grad()
def at_a_step_of_its_own(binarizer: CodebookWeight) -> None:
    binarizer.steps.fill_(PERIOD - 1)
    binarizer.load_state_dict(binarizer.state_dict())
    binarizer.after_step(nn.Parameter(torch.zeros(1)))


def test_patterns_change_in_a_short_training() -> None:
    layer = convolution()
    first = own(layer).patterns.clone()
    optimizer = make_optimizer(Recipe(lr=5e-3), layer, 0.0)
    for number in range(1, 16 * PERIOD + 1):
        step(layer, optimizer, number)
    changed = (own(layer).patterns != first).any(1).sum()
    assert changed >= 4 and len(rows(own(layer))) == 16
    with torch.no_grad():
        drift = (own(layer).codebook - own(layer).patterns).abs().max()
    assert drift > 0.5, "P has left the patterns it started at"


def test_entries_near_zero_keep_their_sign_and_large_ones_are_clamped() -> None:
    binarizer = codebook(normal(4, 4, 3, 3), 2)
    before = binarizer.patterns.clone()
    with torch.no_grad():
        binarizer.codebook.copy_(before)
        binarizer.codebook[0, :4] = before[0, :4] * torch.tensor([-9e-4, -1e-3, 5.0, -5.0])
    at_a_step_of_its_own(binarizer)
    expected = before.clone()
    expected[0, [1, 3]] *= -1
    assert len({tuple(row) for row in expected.tolist()}) == 4, "no two rows may meet here"
    assert torch.equal(binarizer.patterns, expected)
    assert torch.equal(binarizer.codebook[0, 2:4], before[0, 2:4] * torch.tensor([3.0, -3.0]))


def test_equal_patterns_are_replaced_by_unused_ones() -> None:
    def after(seed: int) -> CodebookWeight:
        binarizer = codebook(normal(4, 4, 3, 3), 5, seed)
        with torch.no_grad():
            binarizer.codebook[[7, 20, 31]] = binarizer.codebook[2].clone() * 0.5
        at_a_step_of_its_own(binarizer)
        return binarizer

    first, again, other = after(0), after(0), after(1)
    fresh, untouched = [7, 20, 31], [row for row in range(32) if row not in (7, 20, 31)]
    before = codebook(normal(4, 4, 3, 3), 5, 0).patterns
    assert len(rows(first)) == 32
    assert torch.equal(first.patterns[untouched], before[untouched])
    assert torch.equal(first.codebook[fresh], first.patterns[fresh])
    assert torch.equal(first.codebook[2], before[2])
    assert torch.equal(first.patterns, again.patterns)
    assert not torch.equal(first.patterns[fresh], other.patterns[fresh])


def test_a_run_continued_from_its_state_replaces_at_the_same_step() -> None:
    whole, first, second = convolution(), convolution(), convolution(seed=5)
    optimizers = [torch.optim.Adam(net.parameters(), lr=0.5) for net in (whole, first, second)]
    for number in range(60):
        step(whole, optimizers[0], number)
    for number in range(30):
        step(first, optimizers[1], number)
    second.load_state_dict(first.state_dict())
    optimizers[2].load_state_dict(optimizers[1].state_dict())
    for number in range(30, 60):
        step(second, optimizers[2], number)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_with_nine_bits_a_kernel_is_plain_binary_bit_for_bit() -> None:
    ours, plain = convolution(subbit(9)), convolution(REACTNET)
    optimizers = [torch.optim.Adam(net.parameters(), lr=0.1) for net in (ours, plain)]
    for number in range(30):
        for net, optimizer in zip((ours, plain), optimizers, strict=True):
            step(net, optimizer, number)
    assert list(ours.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name


def test_the_nearest_of_all_512_patterns_is_the_sign() -> None:
    latent = normal(30, 20, 3, 3)
    signs, _ = codebook(latent, 9).decompose(latent)
    assert torch.equal(signs, torch.where(latent >= 0, 1.0, -1.0).double())


def test_a_group_with_no_more_patterns_than_codes_is_plain_binary() -> None:
    def made(*shape: int) -> WeightBinarizer:
        return SUBBIT.weight(torch.ones(shape), Progress())

    assert isinstance(made(4, 1, 2, 2), MeanMagnitudeWeight)
    assert isinstance(made(4, 6), MeanMagnitudeWeight)
    assert isinstance(made(4, 7), CodebookWeight)
    assert isinstance(made(4, 1, 3, 3), CodebookWeight)


def test_a_stage_of_real_weights_leaves_the_codebook_for_the_next() -> None:
    layer = convolution()
    patterns = own(layer).patterns.clone()
    layer.binary_weights = False
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5)
    for number in range(3):
        step(layer, optimizer, number)
    assert torch.equal(own(layer).patterns, patterns) and int(own(layer).steps) == 0
    layer.binary_weights = True
    step(layer, torch.optim.Adam(layer.parameters(), lr=0.5), 3)
    assert torch.equal(own(layer).codebook, patterns)


@pytest.mark.parametrize("tau", [0, 10])
def test_bits_that_no_kernel_has_are_refused(tau: int) -> None:
    with pytest.raises(BitlensError, match=f"tau={tau}; a kernel of 9 weights takes 1 to 9 bits"):
        subbit(tau)


def test_the_constants_have_the_bits_of_the_paper() -> None:
    latent = torch.ones(2, 2, 3, 3)
    sizes = [len(m.weight(latent, Progress()).codebook) for m in (SUBBIT, SUBBIT5, SUBBIT4)]  # pyrefly: ignore
    assert sizes == [64, 32, 16]


def test_pattern_entropy_of_known_distributions() -> None:
    everything = torch.tensor(
        [[1.0 if i >> j & 1 else -1.0 for j in range(9)] for i in range(512)]
    ).view(16, 32, 3, 3)
    assert pattern_entropy(everything) == pytest.approx(9.0)
    assert pattern_entropy(torch.ones(4, 4, 3, 3)) == 0.0
    uneven = torch.ones(2, 2, 3, 3)
    uneven[0, 0, 1, 1] = -1
    assert pattern_entropy(uneven) == pytest.approx(2 - 0.75 * math.log2(3))
    with pytest.raises(BitlensError, match=r"signs of shape \(4, 8\)"):
        pattern_entropy(torch.ones(4, 8))


def test_a_whole_net_packs_with_the_patterns_it_has() -> None:
    net = create("resnet8-bireal-poolpad", method="subbit", classes=4, channels=3, image_size=16)
    again = create("resnet8-bireal-poolpad", method="subbit", classes=4, channels=3, image_size=16)
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    packed = bitlens.pack(net, normal(2, 3, 16, 16).float())
    assert packed.verification.differing == 0 and packed.verification.layers == 6
    for name, layer in binary_layers(net).items():
        used = layer.signs().reshape(-1, 9).unique(dim=0)
        assert used.shape[0] <= 64, name
        assert pattern_entropy(layer.signs()) <= 6


def test_any_net_can_be_made_sub_bit() -> None:
    net = binarize(nn.Sequential(nn.Conv2d(3, 20, 5), nn.Flatten(), nn.Linear(20, 6)), "subbit")
    assert net(torch.randn(2, 3, 5, 5)).shape == (2, 6)
