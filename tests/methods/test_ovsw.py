"""OvSW against its formulas, and its two hooks against the released order of events, step by step."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from bitlens.bits import polynomial, sample_scaled, sign, straight_through
from bitlens.methods.ovsw import SilentAwareWeight, ovsw

SHAPES = [(4, 3, 2, 2), (4, 9)]


def made(latent: torch.Tensor, *, delta: float = 0.04, decay: float = 9e-4) -> SilentAwareWeight:
    return SilentAwareWeight(latent, delta=delta, silent_decay=decay).to(latent.dtype)


def across(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    return values.reshape(-1, *[1] * (like.ndim - 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_scale_and_gradient(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    w, upstream = 0.1 * random.normal(size=shape) + 0.02, random.normal(size=shape)
    rows = w.reshape(len(w), -1)
    centered = rows - rows.mean(1, keepdims=True)
    scale = np.abs(centered / np.sqrt(rows.var(1, ddof=1, keepdims=True) + 1e-5)).mean(1)
    weight = torch.tensor(w, requires_grad=True)
    output = made(weight.detach())(weight)
    output.backward(torch.tensor(upstream))
    signs = np.where(w >= 0, 1, -1)
    np.testing.assert_allclose(output.detach(), across(scale, w) * signs, rtol=1e-12)
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad, across(scale, w) * upstream, rtol=1e-12)


def test_filters_without_spread_count_as_they_are() -> None:
    signs, scale = made(torch.zeros(2, 1, 1, 1)).decompose(torch.tensor([[[[0.3]]], [[[-2.0]]]]))
    assert signs.flatten().tolist() == [1.0, -1.0] and scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (6, 8)])
def test_the_activations_gradient_is_poly_of_the_divided_input(
    shape: tuple[int, ...], through: bool
) -> None:
    torch.manual_seed(0)
    x = (3 * torch.randn(shape, dtype=torch.float64) + 0.5).requires_grad_()
    upstream = torch.randn(shape, dtype=torch.float64)
    variance = x.flatten(1).var(1) + 1e-5
    deviation = variance.sqrt().view(-1, *[1] * (len(shape) - 1))
    divided = sign(x / (deviation if through else deviation.detach()), polynomial)
    (expected,) = torch.autograd.grad(divided, x, upstream)
    ours = sign(x, partial(sample_scaled, inner=polynomial, through=through))
    assert torch.equal(ours, divided)
    torch.testing.assert_close(torch.autograd.grad(ours, x, upstream)[0], expected)


def test_one_value_per_sample_and_float16_stay_finite() -> None:
    x = torch.tensor([[0.5], [0.0], [-2.0]])
    assert sample_scaled(torch.ones_like(x), x, polynomial).isfinite().all()
    half = torch.randn(4, 16, dtype=torch.bfloat16)
    found = sample_scaled(torch.ones_like(half), half, polynomial)
    assert found.dtype == torch.bfloat16 and found.isfinite().all()


@pytest.mark.parametrize("through", [True, False])
def test_large_samples_in_float16_have_the_gradient_of_float64(through: bool) -> None:
    torch.manual_seed(0)
    x, upstream = (60 * torch.randn(3, 4000)).half(), torch.randn(3, 4000).half()
    assert (x.float().square().sum(1) > torch.finfo(torch.float16).max).all()
    kept = upstream.clone()
    for inner in (polynomial, straight_through):
        found = sample_scaled(upstream, x, inner, through=through)
        exact = sample_scaled(upstream.double(), x.double(), inner, through=through)
        assert found.dtype == torch.float16 and exact.abs().max() > 0.01
        torch.testing.assert_close(found.double(), exact, rtol=2e-2, atol=1e-4)
    assert torch.equal(upstream, kept), "what the inner rule hands on may be the gradient itself"


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_scaling_lifts_small_gradients_to_the_threshold(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))
    grad = torch.randn(shape, dtype=torch.float64)
    ratios = [1e-3, 0.0399, 0.0401, 2.0]
    with torch.no_grad():
        for row, ratio in enumerate(ratios):
            grad[row] *= ratio * weight[row].norm() / grad[row].norm()
    weight.grad = grad.clone()
    with torch.no_grad():
        made(weight.detach(), decay=0.0).before_step(weight)
    norms = weight.grad.flatten(1).norm(dim=1) / weight.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.tensor([0.04, 0.04, 0.0401, 2.0]).double())
    assert torch.equal(weight.grad[2:], grad[2:])
    cosine = torch.nn.functional.cosine_similarity(weight.grad[0].flatten(), grad[0].flatten(), 0)
    assert cosine.item() == pytest.approx(1.0)


@torch.no_grad()
def test_norms_have_floors() -> None:
    weight = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
    weight.grad = torch.tensor([[0.0, 0.0, 0.0], [1e-9, 0.0, 0.0]], dtype=torch.float64)
    made(weight.detach()).before_step(weight)
    assert weight.grad.flatten().tolist() == pytest.approx(
        [0, 0, 0, 1e-9 * 0.04 * 1e-3 / 1e-6, 0, 0]
    )


@torch.no_grad()
def test_the_hooks_follow_the_released_order_of_events() -> None:
    random = np.random.default_rng(1)
    start = random.normal(size=(3, 5))
    weight = nn.Parameter(torch.tensor(start))
    binarizer = made(weight.detach(), decay=0.5)
    tracker, previous = np.zeros_like(start), start.copy()
    for _ in range(30):
        w, g = weight.detach().numpy().copy(), random.normal(size=start.shape) * 10.0
        weight.grad = torch.tensor(g)
        binarizer.before_step(weight)
        tracker = 0.999 * tracker + 0.001 * (np.sign(w) != np.sign(previous))
        previous = w
        np.testing.assert_allclose(weight.grad, g + 0.5 * (tracker < 1e-4) * w, rtol=1e-12)
        with torch.no_grad():
            weight.add_(torch.tensor(random.normal(size=start.shape)) * 0.3)
        binarizer.after_step(weight)
    assert 0 < (tracker < 1e-4).sum() < tracker.size


@torch.no_grad()
def test_a_weight_is_silent_again_a_while_after_its_flip() -> None:
    weight = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))
    binarizer = made(weight.detach(), decay=1.0)
    steps, decayed = math.ceil(math.log(0.1) / math.log(0.999)), []
    for step in range(steps + 3):
        weight.grad = torch.full_like(weight, 100.0)
        binarizer.before_step(weight)
        decayed.append(weight.grad.item() != 100.0)
        if step == 0:
            weight.data.neg_()
        binarizer.after_step(weight)
    assert decayed == [True, *[False] * steps, True, True]


@torch.no_grad()
def test_steps_without_gradient_leave_everything() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    binarizer = made(weight.detach())
    binarizer.before_step(weight)
    weight.data.neg_()
    binarizer.after_step(weight)
    assert weight.grad is None and not binarizer.get_buffer("flips").any()


def test_the_settings_of_another_data_set() -> None:
    binarizer = ovsw(delta=0.01, silent_decay=2e-5).weight(torch.ones(2, 2), None)  # type: ignore[arg-type]
    assert isinstance(binarizer, SilentAwareWeight)
    assert (binarizer.delta, binarizer.silent_decay) == (0.01, 2e-5)
