"""Depth losses against their formulas written in numpy, by hand, and blind to unknown depth."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitlens.tasks.depth import berhu, depth_loss, depth_score, to_metres

Name = Literal["l1", "berhu", "silog"]
NAMES: tuple[Name, ...] = ("l1", "berhu", "silog")


def scene(seed: int = 0) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    log_depth = torch.randn(3, 4, 5, generator=source, dtype=torch.float64)
    depth = 0.5 + 4 * torch.rand(3, 4, 5, generator=source, dtype=torch.float64)
    depth[torch.rand(3, 4, 5, generator=source) < 0.3] = 0
    return log_depth, depth


def literal(name: Name, log_depth: np.ndarray, depth: np.ndarray) -> float:
    """The mean over known pixels."""
    z, t = log_depth[depth > 0], depth[depth > 0]
    x = np.abs(np.exp(z) - t)
    if name == "l1":
        return float(x.mean())
    if name == "berhu":
        c = 0.2 * x.max()
        return float(np.where(x <= c, x, (x**2 + c**2) / (2 * c)).mean())
    images = []
    for zi, ti in zip(log_depth, depth, strict=True):
        e = zi[ti > 0] - np.log(ti[ti > 0])
        images += [(np.mean(e**2) - 0.5 * np.mean(e) ** 2, len(e))]
    return sum(value * n for value, n in images) / sum(n for _, n in images)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_the_formulas(name: Name, seed: int) -> None:
    log_depth, depth = scene(seed)
    loss = depth_loss(name, log_depth, depth)
    assert loss.count.item() == int((depth > 0).sum())
    expected = literal(name, log_depth.numpy(), depth.numpy())
    assert loss.mean().item() == pytest.approx(expected, rel=1e-12)


def test_by_hand() -> None:
    """Errors of 1, 0.1 and 5 metres: the threshold is 1 metre; the last pixel is unknown."""
    log_depth = torch.tensor([[[2.0, 1.1, 7.0, 3.0]]], dtype=torch.float64).log()
    depth = torch.tensor([[[1.0, 1.0, 2.0, 0.0]]], dtype=torch.float64)
    assert depth_loss("l1", log_depth, depth).sum.item() == pytest.approx(6.1)
    assert depth_loss("berhu", log_depth, depth).sum.item() == pytest.approx(1 + 0.1 + 26 / 2)
    e = np.log([2.0, 1.1, 3.5])
    silog = (e**2).sum() - 0.5 * e.sum() ** 2 / 3
    assert depth_loss("silog", log_depth, depth).sum.item() == pytest.approx(silog)


def test_scale_matters_half_to_silog() -> None:
    """Of an image that is right but for a factor, lambda 0.5 leaves half of the squared logarithm."""
    depth = scene()[1].clamp(min=0.5)
    loss = depth_loss("silog", (3 * depth).log(), depth)
    assert loss.mean().item() == pytest.approx(0.5 * math.log(3) ** 2)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_unknown_pixels_change_nothing(name: Name, seed: int) -> None:
    log_depth, depth = scene(seed)
    unknown = depth == 0
    wild = torch.randn_like(log_depth) * 1e4  # exp overflows: also infinity must not leak
    found = []
    for said in (log_depth, torch.where(unknown, wild, log_depth)):
        said = said.clone().requires_grad_()
        loss = depth_loss(name, said, depth)
        (gradient,) = torch.autograd.grad(loss.mean(), said)
        assert not gradient[unknown].any() and gradient[~unknown].any()
        found.append((loss.mean().detach(), gradient, depth_score(said.detach(), depth)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_known_is_zero_with_zero_gradients(name: Name) -> None:
    log_depth, depth = scene()
    log_depth.requires_grad_()
    loss = depth_loss(name, log_depth, torch.zeros_like(depth)).mean()
    loss.backward()
    assert loss.item() == 0 and torch.equal(log_depth.grad, torch.zeros_like(depth))
    assert depth_score(log_depth.detach(), torch.zeros_like(depth)).isnan()


@pytest.mark.parametrize("name", NAMES)
def test_one_image_without_depth_beside_others(name: Name) -> None:
    log_depth, depth = scene()
    depth[1] = 0
    both = depth_loss(name, log_depth, depth).mean()
    rest = depth_loss(name, log_depth[[0, 2]], depth[[0, 2]]).mean()
    torch.testing.assert_close(both, rest)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_costs_nothing(name: Name) -> None:
    depth = torch.ones(1, 2, 2, dtype=torch.float64)
    said = torch.zeros(1, 2, 2, dtype=torch.float64, requires_grad=True)
    loss = depth_loss(name, said, depth).mean()
    loss.backward()
    assert loss.item() == 0 and not said.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_nan_shows(name: Name) -> None:
    log_depth, depth = scene()
    log_depth[0][depth[0] > 0] = math.nan
    assert depth_loss(name, log_depth, depth).mean().isnan()


def test_berhu_is_smooth_at_its_threshold() -> None:
    error = torch.tensor(
        [1.0 - 1e-7, 1.0, 1.0 + 1e-7, 3.0], dtype=torch.float64, requires_grad=True
    )
    value = berhu(error, torch.tensor(1.0))
    value.sum().backward()
    torch.testing.assert_close(value[:3], torch.ones(3, dtype=torch.float64), rtol=0, atol=2e-7)
    expected = torch.tensor([1.0, 1.0, 1.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(error.grad, expected, rtol=0, atol=2e-7)


def test_the_threshold_has_no_gradient() -> None:
    """The pixel of the largest error gets x / c, as if c were given."""
    log_depth = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    depth = torch.tensor([[[6.0, 1.5]]], dtype=torch.float64)
    depth_loss("berhu", log_depth, depth).sum.backward()
    expected = torch.tensor([[[-5.0, -1.0]]], dtype=torch.float64)
    torch.testing.assert_close(log_depth.grad, expected)


def test_the_score_is_delta1_within_the_judged_range() -> None:
    depth = torch.tensor([[[1.0, 1.0, 1.0, 0.0, 9.0, 0.11]]])
    said = torch.tensor([[[1.24, 1.26, 0.79, 1.0, 99.0, 0.01]]])
    assert depth_score(said.log(), depth).item() == pytest.approx(3 / 5)
    metres = to_metres(torch.tensor([-50.0, math.log(2), 50.0]))
    torch.testing.assert_close(metres, torch.tensor([0.1, 2.0, 10.0]))
