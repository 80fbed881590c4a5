"""ReCU against its formulas in numpy, autograd of the same expressions, and the Laplace quantile."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens import binarize, set_progress
from bitlens.bits import polynomial, sample_scaled
from bitlens.methods.contract import Progress
from bitlens.methods.recu import RECU, RectifiedClampWeight, clamp_share
from bitlens.models import create
from bitlens.models.layers import BinaryConv2d, binary_layers


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ste(z: Tensor) -> Tensor:
    return z + (torch.where(z >= 0, 1.0, -1.0) - z).detach()


def parabola(u: Tensor) -> Tensor:
    """The primitive of max(0, 2 - 2|u|)."""
    inside = u.clamp(-1, 1)
    return 2 * inside - inside * inside.abs()


@pytest.mark.parametrize(("t", "tau"), [(0.0, 0.85), (0.5, 0.902855), (1.0, 0.99)])
def test_the_quantile_rises_exponentially(t: float, tau: float) -> None:
    assert clamp_share(t) == pytest.approx(tau, abs=1e-6)
    assert clamp_share(t) == pytest.approx(0.0814768 * math.exp(t) + 0.7685232, abs=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.7, 1.0])
def test_laplace_weights_are_clamped_at_their_quantile(t: float) -> None:
    draws = torch.from_numpy(np.random.default_rng(0).laplace(size=(1, 400_000)))
    progress = Progress()
    progress.value = t
    real = RectifiedClampWeight(1, progress).real(draws)
    at_bound = (real.abs() == real.abs().max()).double().mean().item()
    assert at_bound == pytest.approx(2 * (1 - clamp_share(t)), rel=0.03)
    assert real.abs().max().item() == pytest.approx(-2 * math.log(2 - 2 * clamp_share(t)), rel=0.01)


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (4, 17)])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_weight_and_gradients_are_those_of_the_formula(shape: tuple[int, ...], t: float) -> None:
    progress = Progress()
    progress.value = t
    binarizer = RectifiedClampWeight(shape[0], progress).double()
    with torch.no_grad():
        binarizer.scale[0] = -0.4
    weight = (0.05 * normal(*shape) + 0.01).requires_grad_()
    upstream = normal(*shape, seed=1)

    w = weight.detach().clone().requires_grad_()
    alpha = binarizer.scale.detach().clone().requires_grad_()
    axes = tuple(range(1, w.dim()))
    centered = w - w.mean(axes, keepdim=True)
    z = centered / (torch.sqrt(centered.var(axes, keepdim=True) + 1e-5) / (2 * math.sqrt(2)))
    q = (-z.abs().mean() * math.log(2 - 2 * clamp_share(t))).item()
    expected = ste(z.clamp(-q, q)) * alpha.view(-1, *[1] * (w.dim() - 1))
    assert (z.abs() > q).any() or t == 1.0

    found = binarizer(weight)
    signs, scale = binarizer.decompose(weight)
    assert torch.equal(signs, torch.where(centered >= 0, 1.0, -1.0).double())
    assert torch.equal(scale, alpha)
    torch.testing.assert_close(found, expected)
    ours = torch.autograd.grad((found * upstream).sum(), [weight, binarizer.scale])
    theirs = torch.autograd.grad((expected * upstream).sum(), [w, alpha])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(3, 4, 5, 5), (6, 9), (2, 1)])
def test_the_deviation_of_a_sample_is_differentiated(shape: tuple[int, ...]) -> None:
    x = (0.7 * normal(*shape, seed=2) + 0.3).requires_grad_()
    upstream = normal(*shape, seed=3)
    axes = tuple(range(1, x.dim()))
    correction = 1 if x[0].numel() > 1 else 0
    deviation = torch.sqrt(x.var(axes, correction=correction, keepdim=True) + 1e-5)
    (expected,) = torch.autograd.grad((parabola(x / deviation) * upstream).sum(), x)
    activation = RECU.activation(shape[1], Progress())
    codes = activation(x)
    assert torch.equal(codes, torch.where(x >= 0, 1.0, -1.0).double())
    (found,) = torch.autograd.grad((codes * upstream).sum(), x)
    torch.testing.assert_close(found, expected)


def test_centred_samples_need_no_centring() -> None:
    x, grad = normal(3, 4, 5, seed=4), normal(3, 4, 5, seed=5)
    x -= x.mean((1, 2), keepdim=True)
    torch.testing.assert_close(
        sample_scaled(grad, x, polynomial, centered=True), sample_scaled(grad, x, polynomial)
    )


def test_training_and_evaluation_take_the_same_signs_of_any_image() -> None:
    layer = binarize(nn.Conv2d(4, 6, 3, padding=1), "recu")
    assert isinstance(layer, BinaryConv2d)
    x = torch.cat([normal(2, 4, 8, 8).float(), torch.full((1, 4, 8, 8), 1e-30)])
    assert torch.equal(layer.train().activation(x), layer.eval().activation(x))
    set_progress(layer, 0.2)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))


def test_the_first_scales_are_drawn_from_the_seed() -> None:
    def scales(seed: int) -> Tensor:
        net = create(
            "resnet8-bireal-poolpad", method="recu", classes=3, channels=3, image_size=16, seed=seed
        )
        layers = binary_layers(net).values()
        found = [layer.weight_binarizer.get_parameter("scale").detach() for layer in layers]
        return torch.cat(found)

    first = scales(1)
    assert torch.equal(first, scales(1)) and not torch.equal(first, scales(2))
    assert 0 <= first.min() < 0.1 and 0.9 < first.max() <= 1


def test_a_stage_of_real_weights_keeps_the_scale_and_the_clamp() -> None:
    binarizer = RectifiedClampWeight(3, Progress())
    weight = normal(3, 12).float()
    weight[1] = 0.25
    real = binarizer.relaxed(weight)
    z = 2 * math.sqrt(2) * (weight - weight.mean(1, True)) / weight.std(1, keepdim=True)
    z[1] = 0.0
    q = z.abs().mean() * math.log(50)
    expected = z.clamp(-q, q) * binarizer.scale[:, None]
    torch.testing.assert_close(real, expected, rtol=1e-4, atol=1e-6)


def test_a_packed_net_answers_as_torch_with_scales_of_both_signs() -> None:
    net = create(
        "resnet8-bireal-poolpad", method="recu", classes=4, channels=3, image_size=12, seed=3
    )
    with torch.no_grad():
        for layer in binary_layers(net).values():
            layer.weight_binarizer.get_parameter("scale").sub_(0.5)
        for _ in range(3):
            net(normal(8, 3, 12, 12, seed=6).float())
    found = bitlens.pack(net, normal(4, 3, 12, 12, seed=7).float(), float32=True).verification
    assert found.differing == 0 and found.codes > 0 and found.largest < 1e-4
