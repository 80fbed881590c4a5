"""RBONN: its gradients written out, which filters look back, and what they see there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bitlens.methods import get
from bitlens.methods.contract import TWO_STEP, Progress
from bitlens.methods.rbonn import BilinearWeight, looks_back

SHAPES = [(5, 3, 2, 2), (5, 7)]
SCALES = (3.0, -1.0, 2.0, 5.0, -4.0)
SMALLEST = [0.0, 1.0, 1.0, 0.0, 0.0]
"""The two fifths of the filters with the smallest |s|."""


def fresh(
    shape: tuple[int, ...], *, t: float = 0.5, released: bool = False
) -> tuple[BilinearWeight, nn.Parameter]:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))
    progress = Progress()
    progress.value = t
    binarizer = BilinearWeight(weight.detach(), progress, released=released).double()
    binarizer.s.data.copy_(torch.tensor(SCALES))
    binarizer.u.data.fill_(0.2)  # to the last bit of float64
    return binarizer, weight


def across(values: object, like: np.ndarray) -> np.ndarray:
    return np.asarray(values).reshape(-1, *[1] * (like.ndim - 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_backward_are_the_cards(shape: tuple[int, ...]) -> None:
    binarizer, weight = fresh(shape)
    w, g = weight.detach().numpy(), np.random.default_rng(0).normal(size=shape)
    s = across(SCALES, w)
    signs = np.where(w >= 0, 1, -1)
    made = binarizer(weight)
    made.backward(torch.tensor(g))
    binary = 0.02 * np.abs(s) * signs
    np.testing.assert_allclose(made.detach(), binary, rtol=1e-13)
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad, g * np.abs(s) + 1e-4 * (w - binary), rtol=1e-11)
    to_magnitude = g * w - 1e-4 * (w - binary) * 0.02 * signs
    expected = to_magnitude.reshape(len(w), -1).sum(1) * np.sign(SCALES)
    assert binarizer.s.grad is not None
    np.testing.assert_allclose(binarizer.s.grad, expected, rtol=1e-11)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40, unique=True))
def test_the_filters_with_the_smallest_scales_look_back(scales: list[int]) -> None:
    found = looks_back(torch.tensor(scales, dtype=torch.float64), released=False)
    count = int(len(scales) * 0.4)
    assert [s for s, f in zip(scales, found, strict=True) if f] == [
        s for s in scales if s in sorted(scales)[:count]
    ]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40, unique=True))
def test_the_released_code_takes_as_many_others(scales: list[int]) -> None:
    found = looks_back(torch.tensor(scales, dtype=torch.float64), released=True)
    count = int(len(scales) * 0.4)
    order = sorted(range(len(scales)), key=lambda i: scales[i])
    assert found.tolist() == [float(index < count) for index in order]
    assert found.sum() == count


def test_ranks_and_the_released_order_differ() -> None:
    magnitude = torch.tensor(SCALES).abs()
    assert looks_back(magnitude, released=False).tolist() == SMALLEST
    assert looks_back(magnitude, released=True).tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("released", [False, True])
def test_a_step_starts_from_the_gradient_of_the_one_before(
    shape: tuple[int, ...], released: bool
) -> None:
    binarizer, weight = fresh(shape, released=released)
    w, previous = weight.detach().numpy(), 20 * np.random.default_rng(1).normal(size=shape)
    weight.grad = torch.tensor(previous)
    binarizer.before_step(weight)
    weight.grad = None
    chosen = [1.0, 0.0, 1.0, 0.0, 0.0] if released else SMALLEST
    moved = w - across(0.2 * np.array(chosen), w) * previous
    signs = np.where(moved >= 0, 1, -1)
    assert (signs != np.where(w >= 0, 1, -1)).any()
    made = binarizer(weight)
    magnitude = across(np.abs(SCALES), w)
    np.testing.assert_allclose(made.detach(), 0.02 * magnitude * signs, rtol=1e-13)
    g = np.random.default_rng(2).normal(size=shape)
    (found,) = torch.autograd.grad(made, weight, torch.tensor(g), retain_graph=True)
    (to_u,) = torch.autograd.grad(made, binarizer.u, torch.tensor(g))
    to_moved = g * magnitude + 1e-4 * (moved - 0.02 * magnitude * signs)
    np.testing.assert_allclose(found, to_moved, rtol=1e-11)
    expected = -(to_moved * previous).reshape(len(w), -1).sum(1) * chosen
    np.testing.assert_allclose(to_u, expected, rtol=1e-11)


def test_what_is_deployed_does_not_look_back() -> None:
    binarizer, weight = fresh((5, 7))
    weight.grad = torch.randn(5, 7, dtype=torch.float64) * 20
    binarizer.before_step(weight)
    signs, scale = binarizer.decompose(weight)
    assert torch.equal(signs, torch.where(weight >= 0, 1.0, -1.0).double())
    deployed = signs * scale[:, None]
    assert not torch.equal(binarizer(weight), deployed)
    assert torch.equal(binarizer.eval()(weight), deployed)
    binarizer.progress.value = 1.0
    assert torch.equal(binarizer.train()(weight), deployed)


def test_the_stage_of_real_weights_leaves_scales_alone() -> None:
    binarizer, weight = fresh((5, 7))
    relaxed = binarizer.relaxed(weight)
    assert torch.equal(relaxed, weight)
    gradients = torch.autograd.grad(relaxed.square().sum(), [binarizer.s, binarizer.u])
    assert not any(gradient.any() for gradient in gradients)


def test_settings_of_the_method() -> None:
    binarizer = BilinearWeight(torch.zeros(3, 2), Progress(), released=False)
    assert binarizer.learning_rates() == {"u": 0.1}
    assert binarizer.u.tolist() == pytest.approx([0.2] * 3)
    released = get("bitlens.methods.rbonn:RBONN_RELEASED")
    assert get("rbonn").plan == released.plan == TWO_STEP
    assert "released" in released.title
