"""AdaBin against its formulas in numpy, and against autograd of the same expression."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from bitlens import binarize
from bitlens.bits import error_decay_slopes
from bitlens.methods.adabin import ADABIN, ADABIN_RELEASED, AdaptiveSign, AdaptiveWeight, Maxout
from bitlens.methods.contract import Progress
from bitlens.models.layers import BinaryConv2d, BinaryLinear


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def binarizer(t: float = 1.0) -> AdaptiveWeight:
    progress = Progress()
    progress.value = t
    return AdaptiveWeight(progress)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (5, 7), (8, 2, 1, 5)])
def test_a_filter_has_two_values_at_its_mean_plus_or_minus_its_deviation(
    shape: tuple[int, ...],
) -> None:
    weight = draw(*shape) + draw(shape[0], *[1] * (len(shape) - 1), seed=1)
    rows = weight.numpy().reshape(shape[0], -1)
    mean, deviation = rows.mean(1, keepdims=True), rows.std(1, keepdims=True, ddof=0)
    expected = np.where(rows >= mean, mean + deviation, mean - deviation).reshape(shape)
    np.testing.assert_allclose(binarizer()(weight), expected)
    signs, scale = binarizer().decompose(weight)
    np.testing.assert_allclose(scale, deviation[:, 0])
    np.testing.assert_allclose(binarizer().offset(weight), mean[:, 0])
    around = (-1, *[1] * (len(shape) - 1))
    again = signs * scale.view(around) + binarizer().offset(weight).view(around)
    assert torch.equal(binarizer()(weight), again)


@pytest.mark.parametrize("t", [0.0, 0.5, 0.9])
def test_the_gradient_runs_through_mean_deviation_and_standardised_weight(t: float) -> None:
    """Autograd of the formula with the sign replaced by a line of the surrogate's slope."""
    weight, upstream = draw(4, 3, 2, 2).requires_grad_(), draw(4, 3, 2, 2, seed=1)
    (found,) = torch.autograd.grad(binarizer(t)(weight), weight, upstream)
    slope, gain = error_decay_slopes(t)
    mean = weight.mean((1, 2, 3), keepdim=True)
    deviation = (weight - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
    z = (weight - mean) / deviation
    slopes = gain * slope * (1 - (slope * z).tanh() ** 2)
    line = z.sign().detach() + slopes.detach() * (z - z.detach())
    (expected,) = torch.autograd.grad(line * deviation + mean, weight, upstream)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
def test_a_constant_filter_is_its_mean(value: float) -> None:
    weight = torch.full((2, 3, 3, 3), value).requires_grad_()
    binary = binarizer()(weight)
    torch.testing.assert_close(binary.detach(), weight.detach())
    assert (binarizer().decompose(weight)[0] == 1).all()
    assert (binarizer().decompose(weight)[1] == 0).all()
    (gradient,) = torch.autograd.grad(binary.sum(), weight)
    torch.testing.assert_close(gradient, torch.ones_like(weight))


def activation(gain: float, bias: float, *, released: bool = False) -> AdaptiveSign:
    made = AdaptiveSign(released=released).double()
    nn.init.constant_(made.gain, gain)
    nn.init.constant_(made.bias, bias)
    return made


def seen_by_the_layer(made: AdaptiveSign, x: Tensor) -> Tensor:
    gain, bias = made.affine()
    return made(x) * gain + bias


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(("gain", "bias"), [(1.0, 0.0), (0.3, -0.5), (-2.0, 0.7)])
def test_activation_values_and_gradients(gain: float, bias: float, released: bool) -> None:
    made, x = activation(gain, bias, released=released), draw(2, 3, 4, 4).requires_grad_()
    found = seen_by_the_layer(made, x)
    sign = np.where((x.detach().numpy() - bias) / gain >= 0, 1, -1)
    offset = gain * bias if released else bias
    np.testing.assert_allclose(found.detach(), gain * sign + offset)

    a, b = (p.detach().clone().requires_grad_() for p in (made.gain, made.bias))
    z = (x - b) / a
    slopes = (2 - 2 * z.abs()).clamp_min(0).detach()
    line = torch.from_numpy(sign) + slopes * (z - z.detach())
    expected = a * (line + b) if released else a * line + b
    upstream = draw(2, 3, 4, 4, seed=3)
    wanted = torch.autograd.grad(expected, [x, a, b], upstream)
    got = torch.autograd.grad(found, [x, made.gain, made.bias], upstream)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("gain", [0.0, -0.0, 1e-30, -1e-30, 1e-7])
def test_a_vanishing_gain_keeps_the_signs_and_finite_gradients(gain: float) -> None:
    made = activation(gain, 0.25).float()
    x = torch.tensor([[-1.0, 0.2499, 0.25, 0.2501, 30.0]], requires_grad=True)
    codes = made(x)
    above = torch.tensor([[-1.0, -1.0, 1.0, 1.0, 1.0]])
    turned = torch.tensor([[1.0, 1.0, 1.0, -1.0, -1.0]])
    assert torch.equal(codes, turned if np.signbit(np.float32(gain)) else above)
    for gradient in torch.autograd.grad(codes.sum(), [x, made.gain, made.bias]):
        assert gradient.isfinite().all()


def layer(gain: float, bias: float, pad: Literal[0, 1, -1]) -> BinaryConv2d:
    torch.manual_seed(0)
    source = nn.Conv2d(4, 6, 3, stride=2, padding=(1, 2)).double()
    made = binarize(source, "adabin", keep_float=(), pad=pad)
    assert isinstance(made, BinaryConv2d)
    nn.init.constant_(made.activation.get_parameter("gain"), gain)
    nn.init.constant_(made.activation.get_parameter("bias"), bias)
    return made


@pytest.mark.parametrize("pad", [0, 1, -1])
@pytest.mark.parametrize(("gain", "bias"), [(0.8, 0.4), (-1.3, -0.2)])
def test_a_padded_position_is_worth_its_sign(
    gain: float, bias: float, pad: Literal[0, 1, -1]
) -> None:
    """0 is worth the bias, at the border as anywhere; training and evaluation agree."""
    made, x = layer(gain, bias, pad), draw(2, 4, 7, 6)
    values = torch.where((x - bias) / gain >= 0, 1.0, -1.0).double() * gain + bias
    padded = F.pad(values, (2, 2, 1, 1), value=gain * pad + bias)
    expected = F.conv2d(padded, made.weight_binarizer(made.weight), made.bias, stride=2)
    for training in (True, False):
        torch.testing.assert_close(made.train(training)(x), expected)


def test_a_linear_layer_computes_with_both_values() -> None:
    made = binarize(nn.Linear(7, 5).double(), "adabin", keep_float=())
    assert isinstance(made, BinaryLinear)
    nn.init.constant_(made.activation.get_parameter("gain"), -0.7)
    nn.init.constant_(made.activation.get_parameter("bias"), 0.1)
    x = draw(3, 4, 7)
    values = torch.where(x > 0.1, 1.0, -1.0).double() * 0.7 + 0.1
    expected = F.linear(values, made.weight_binarizer(made.weight), made.bias)
    for training in (True, False):
        torch.testing.assert_close(made.train(training)(x), expected)


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 4), (2, 3, 7)])
def test_maxout_has_a_slope_on_either_side(shape: tuple[int, ...]) -> None:
    made, x = Maxout(3).double(), draw(*shape).requires_grad_()
    torch.testing.assert_close(made(x), F.leaky_relu(x, 0.25))
    with torch.no_grad():
        made.above.copy_(torch.tensor([0.5, -2.0, 0.0]))
        made.below.copy_(torch.tensor([-1.0, 0.0, 3.0]))
    p, n = (v.view(1, 3, *[1] * (x.dim() - 2)) for v in (made.above, made.below))
    expected = p * x.relu() - n * (-x).relu()
    torch.testing.assert_close(made(x), expected)
    upstream, leaves = draw(*shape, seed=2), [x, made.above, made.below]
    wanted = torch.autograd.grad(expected, leaves, upstream)
    for one, other in zip(torch.autograd.grad(made(x), leaves, upstream), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_maxout_passes_on_what_is_not_a_number() -> None:
    assert Maxout(1)(torch.tensor([[float("nan")]])).isnan().all()


def test_maxout_gradients_image_by_image() -> None:
    made, x = Maxout(3).double(), draw(4, 3, 2, 2)

    def loss(values: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(made, values, (image[None],)).square().sum()

    parameters = dict(made.named_parameters())
    batched = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for index, image in enumerate(x):
        for name, gradient in grad(loss)(parameters, image).items():
            torch.testing.assert_close(batched[name][index], gradient)


def test_the_two_versions_differ_in_the_bias_alone() -> None:
    paper, released = (m.activation(3, Progress()) for m in (ADABIN, ADABIN_RELEASED))
    for made in (paper, released):
        nn.init.constant_(made.get_parameter("gain"), 3.0)
        nn.init.constant_(made.get_parameter("bias"), 0.5)
    (a, b), (c, d) = paper.affine() or (), released.affine() or ()
    assert (a.item(), b.item(), c.item(), d.item()) == (3.0, 0.5, 3.0, 1.5)
