"""BiPer against sines and cosines in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitlens import binarize, penalty
from bitlens.methods import get
from bitlens.methods.biper import TAU, PeriodicWeight
from bitlens.models.layers import BinaryConv2d

SHAPES = [(5, 3, 2, 2), (5, 7)]


def periodic(shape: tuple[int, ...]) -> tuple[PeriodicWeight, torch.Tensor, np.ndarray]:
    """A binarizer with scales of both signs, a latent weight, and the scales shaped to multiply it."""
    torch.manual_seed(0)
    binarizer = PeriodicWeight(shape[0]).double()
    alpha = torch.tensor([0.7, -0.4, 0.1, 1.3, -2.0], dtype=torch.float64)
    binarizer.alpha.data.copy_(alpha)
    weight = torch.randn(shape, dtype=torch.float64).requires_grad_()
    return binarizer, weight, alpha.numpy().reshape(-1, *[1] * (len(shape) - 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_binary_weights_are_signs_of_a_sine(shape: tuple[int, ...]) -> None:
    binarizer, weight, alpha = periodic(shape)
    w = weight.detach().numpy()
    upstream = np.random.default_rng(0).normal(size=shape)
    output = binarizer(weight)
    output.backward(torch.tensor(upstream))
    assert weight.grad is not None and binarizer.alpha.grad is not None
    signs = np.where(np.sin(20 * w) >= 0, 1, -1)
    assert (signs != np.sign(w)).any()
    np.testing.assert_array_equal(output.detach(), alpha * signs)
    np.testing.assert_allclose(weight.grad, upstream * alpha * 20 * np.cos(20 * w), rtol=1e-11)
    summed = (upstream * signs).reshape(len(w), -1).sum(1)
    np.testing.assert_allclose(binarizer.alpha.grad, summed, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_stage_has_the_sine_itself(shape: tuple[int, ...]) -> None:
    binarizer, weight, alpha = periodic(shape)
    expected = alpha * np.sin(20 * weight.detach().numpy())
    np.testing.assert_allclose(binarizer.relaxed(weight).detach(), expected, rtol=1e-12)
    assert torch.autograd.gradcheck(binarizer.relaxed, weight)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_penalty_is_the_released_term(shape: tuple[int, ...]) -> None:
    binarizer, weight, _ = periodic(shape)
    w = weight.detach().numpy()
    term = binarizer.penalty(weight)
    assert term.item() == pytest.approx(TAU * (0.5 - 0.5 * np.cos(2 * 20 * w)).mean())
    term.backward()
    assert weight.grad is not None
    np.testing.assert_allclose(
        weight.grad, TAU * 20 * np.sin(40 * w) / w.size, rtol=1e-9, atol=1e-15
    )


def test_a_net_adds_the_term_of_every_binary_layer() -> None:
    net = binarize(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)), "biper")
    terms = [
        TAU * np.square(np.sin(20 * p.detach().numpy())).mean()
        for name, p in net.named_parameters()
        if name.endswith(".weight")
    ]
    found = penalty(net)
    assert found is not None and found.item() == pytest.approx(sum(terms), rel=1e-5)


def test_scales_are_drawn_between_zero_and_one_from_the_seed() -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        layer = binarize(torch.nn.Conv2d(3, 500, 1), "biper")
        assert isinstance(layer, BinaryConv2d)
        drawn.append(layer.weight_binarizer.decompose(layer.weight)[1])
    assert torch.equal(drawn[0], drawn[1])
    assert 0 <= drawn[0].min() < 0.05 and 0.95 < drawn[0].max() <= 1


def test_two_thirds_of_the_training_have_real_weights() -> None:
    first, second = get("biper").plan
    assert (first.binary_weights, second.binary_weights) == (False, True)
    assert first.share == 2 * second.share and first.share + second.share == 1
    assert first.weight_decay is None and second.weight_decay is None
