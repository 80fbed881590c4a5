"""RBNN: rotations against scipy's Procrustes, W3 by hand, TRI as a derivative, and when fits happen."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from bitlens import BitlensError, after_step, binarize, set_progress
from bitlens.bits import triangle
from bitlens.methods.contract import Progress
from bitlens.methods.rbnn import (
    FITS,
    RBNN,
    RotatedWeight,
    TriangleSlopes,
    factors,
    fit_rotations,
    polar,
    random_rotation,
)
from bitlens.models.layers import BinaryLayer


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(t: float) -> Progress:
    progress = Progress()
    progress.value = t
    return progress


def rotations(layer: nn.Module) -> RotatedWeight:
    assert isinstance(layer, BinaryLayer)
    assert isinstance(layer.weight_binarizer, RotatedWeight)
    return layer.weight_binarizer


@pytest.mark.parametrize("n", [*range(1, 40), 144, 576, 784, 4608])
def test_a_filter_splits_into_its_most_equal_factors(n: int) -> None:
    pairs = [(a, n // a) for a in range(1, n + 1) if n % a == 0 and a <= n // a]
    assert factors(n) == min(pairs, key=lambda pair: pair[1] - pair[0])


@pytest.mark.parametrize("side", [1, 2, 24])
def test_random_rotations_are_orthogonal_and_differ(side: int) -> None:
    first, second = random_rotation(side), random_rotation(side)
    torch.testing.assert_close(first @ first.T, torch.eye(side))
    assert side == 1 or not torch.equal(first, second)


def test_the_polar_factor_solves_procrustes() -> None:
    a, b = normal(9, 6), normal(9, 6, seed=1)
    expected, _ = scipy.linalg.orthogonal_procrustes(a.numpy(), b.numpy())
    np.testing.assert_allclose(polar(a.T @ b).numpy(), expected)


@pytest.mark.parametrize("shape", [(6, 3, 4), (5, 1, 7), (3, 6, 6)])
def test_a_fit_brings_filters_closer_to_their_signs(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    left, right = random_rotation(shape[1]).double(), random_rotation(shape[2]).double()
    reached = [(left.T @ x @ right).abs().sum().item()]
    for _ in range(6):
        left, right = fit_rotations(x, left, right)
        torch.testing.assert_close(left @ left.T, torch.eye(shape[1]).double())
        torch.testing.assert_close(right @ right.T, torch.eye(shape[2]).double())
        reached.append((left.T @ x @ right).abs().sum().item())
    assert all(b >= a * (1 - 1e-12) for a, b in pairwise(reached))
    assert reached[1] > reached[0]


def test_one_turn_is_the_papers_alternation() -> None:
    x, (left, right) = normal(5, 3, 4), (polar(normal(3, 3)), polar(normal(4, 4)))
    expected = [left.numpy(), right.numpy()]
    for _ in range(3):
        r1, r2 = expected
        b = [np.where(r1.T @ m @ r2 >= 0, 1.0, -1.0) for m in x.numpy()]
        u, _, vt = np.linalg.svd(sum(s @ r2.T @ m.T for s, m in zip(b, x.numpy(), strict=True)))
        r1 = vt.T @ u.T
        u, _, vt = np.linalg.svd(sum(m.T @ r1 @ s for s, m in zip(b, x.numpy(), strict=True)))
        expected = [r1, u @ vt]
    for found, wanted in zip(fit_rotations(x, left, right), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)


def test_broken_weights_leave_the_rotations_alone() -> None:
    x, left, right = normal(2, 3, 4), torch.eye(3).double(), torch.eye(4).double()
    x[0, 0, 0] = float("nan")
    assert fit_rotations(x, left, right) == (left, right)


@pytest.mark.parametrize(("t", "k"), [(0.01, 100.0), (1.0, 1.0), (10.0, 1.0)])
def test_the_triangle_is_the_derivative_of_two_parabolas(t: float, k: float) -> None:
    x = torch.linspace(-3, 3, 301, dtype=torch.float64) * min(1 / t, 5.0)
    x.requires_grad_()
    inside = x.clamp(-math.sqrt(2) / t, math.sqrt(2) / t)
    value = k * (math.sqrt(2) * t * inside - 0.5 * t * t * inside * inside.abs())
    (expected,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(triangle(torch.ones_like(x), x.detach(), t, k), expected)


@pytest.mark.parametrize(
    ("progress", "weights", "activations"),
    [(0.0, math.sqrt(2), math.sqrt(2)), (2 / 3, math.sqrt(2), math.sqrt(2)), (1.0, 14.142, 14.142)],
)
def test_slopes_at_zero_over_training(progress: float, weights: float, activations: float) -> None:
    one, zero = torch.ones(()), torch.zeros(())
    found = [TriangleSlopes(at(progress), activations=a)(one, zero).item() for a in (False, True)]
    assert found == pytest.approx([weights, activations], rel=1e-3)
    far = torch.tensor(1.3)
    early = [TriangleSlopes(at(0.0), activations=a)(one, far).item() for a in (False, True)]
    assert early == pytest.approx([math.sqrt(2) - 0.013, math.sqrt(2) - 1.3], rel=1e-4)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("shape", [(5, 3, 2, 2), (4, 7)])
def test_weight_and_gradients_are_those_of_the_formula(
    shape: tuple[int, ...], released: bool
) -> None:
    weight = (0.1 * normal(*shape) + 0.05).requires_grad_()
    binarizer = RotatedWeight(weight.detach(), at(0.5), released=released).double()
    assert torch.allclose(binarizer.scale, weight.detach().abs().flatten(1).mean(1))
    assert torch.allclose(binarizer.angle, torch.tensor(math.pi / 2).double())
    with torch.no_grad():
        binarizer.angle.copy_(normal(*binarizer.angle.shape, seed=4))
    w = weight.detach().flatten(1).numpy()
    standard = (w - w.mean(1, keepdims=True)) / w.std(1, ddof=1, keepdims=True)
    r1, r2 = binarizer.left.numpy(), binarizer.right.numpy()
    x = standard.reshape(-1, *factors(w.shape[1]))
    rotated = np.stack([r1.T @ m @ r2 for m in x]).reshape(w.shape)
    angle = binarizer.angle.detach().view(-1, 1).numpy()
    w3 = standard + np.abs(np.sin(angle)) * (rotated - standard)
    signs, scale = binarizer.decompose(weight)
    np.testing.assert_array_equal(signs.flatten(1).numpy(), np.where(w3 >= 0, 1, -1))
    assert torch.equal(scale, binarizer.scale)

    upstream = normal(*shape, seed=1)
    grads = torch.autograd.grad(
        (binarizer(weight) * upstream).sum(), [weight, binarizer.scale, binarizer.angle]
    )
    t = 10 ** (-2 + 3 * 0.5)
    tri = np.maximum(0, max(1 / t, 1) * (math.sqrt(2) * t - t * t * np.abs(w3)))
    g3 = upstream.flatten(1).numpy() * binarizer.scale.detach().view(-1, 1).numpy() * tri
    slope = np.cos(angle) * np.sign(np.sin(angle))
    to_angle = slope[:, 0] * ((rotated - standard) * g3).sum(1)
    n = w.shape[1]
    back = np.stack([r1 @ m @ r2.T for m in g3.reshape(x.shape)]).reshape(w.shape)
    sine = np.abs(np.sin(angle))
    passed = (1 - sine) * g3 + (0 if released else sine * back)
    to_weight = passed - passed.mean(1, keepdims=True)
    to_weight -= standard * (passed * standard).sum(1, keepdims=True) / (n - 1)
    to_weight /= w.std(1, ddof=1, keepdims=True)
    np.testing.assert_allclose(grads[0].flatten(1).numpy(), to_weight, atol=1e-12)
    np.testing.assert_allclose(grads[1].numpy(), (upstream * signs).flatten(1).sum(1).numpy())
    np.testing.assert_allclose(grads[2].flatten().numpy(), to_angle, atol=1e-12)


@pytest.mark.parametrize("t", [0.2, 0.9])
def test_samples_are_standardised_before_the_sign(t: float) -> None:
    x = (0.7 * normal(3, 4, 5, 5, seed=2) + 0.3).requires_grad_()
    upstream = normal(3, 4, 5, 5, seed=3)
    axes = (1, 2, 3)
    u = (x - x.mean(axes, keepdim=True)) / torch.sqrt(x.var(axes, keepdim=True) + 1e-5)
    slope = max(10 ** (-2 + 3 * t), 1.0)
    inside = u.clamp(-math.sqrt(2) / slope, math.sqrt(2) / slope)
    value = math.sqrt(2) * slope * inside - 0.5 * slope**2 * inside * inside.abs()
    (expected,) = torch.autograd.grad((value * upstream).sum(), x)
    codes = RBNN.activation(4, at(t))(x)
    assert torch.equal(codes, torch.where(u >= 0, 1.0, -1.0).double())
    (found,) = torch.autograd.grad((codes * upstream).sum(), x)
    torch.testing.assert_close(found, expected)


def fitted(layer: nn.Module, steps: range, of: int) -> list[int]:
    """The steps after which the rotations changed."""
    found = []
    for step in steps:
        before = rotations(layer).right.clone()
        set_progress(layer, step / (of - 1))
        after_step(layer)
        if not torch.equal(rotations(layer).right, before):
            found.append(step)
    return found


def test_rotations_are_fitted_at_fixed_points_of_training_across_a_resume() -> None:
    def fresh() -> nn.Module:
        layer = binarize(nn.Linear(6, 5), "rbnn")
        with torch.no_grad():
            rotations(layer).right.copy_(torch.eye(3))
        return layer

    # A fit to unchanged weights may change nothing more, so the marks are read from the buffer.
    layer, marks = fresh(), []
    for step in range(240):
        set_progress(layer, step / 239)
        after_step(layer)
        marks.append(int(rotations(layer).part))
    assert marks == [min(int(step / 239 * FITS), FITS - 1) for step in range(240)]
    assert sorted(set(marks)) == list(range(20))

    first = fresh()
    assert fitted(first, range(0, 3), 240) == [0]
    second = fresh()
    second.load_state_dict(first.state_dict())
    assert torch.equal(rotations(second).right, rotations(first).right)
    assert fitted(second, range(3, 5), 240) == []
    assert int(rotations(second).part) == 0
    assert fitted(fresh(), range(3, 5), 240) == [3]


def test_prime_filters_rotate_on_one_side_and_huge_ones_are_refused() -> None:
    binarizer = RotatedWeight(normal(3, 13), at(1.0))
    assert binarizer.left.shape == (1, 1) and binarizer.right.shape == (13, 13)
    with pytest.raises(BitlensError, match="split into 1 x 2053 only, and a rotation of side 2053"):
        RotatedWeight(torch.zeros(1, 2053), at(1.0))
