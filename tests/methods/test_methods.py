"""Every method's forward and backward against its paper's formulas, written out by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import grad as conv_grad

from bitlens import binarize, set_progress
from bitlens.methods import get
from bitlens.methods.contract import Progress
from bitlens.methods.irnet import LibraWeight, standardize
from bitlens.methods.reactnet import RPReLU, RSign
from bitlens.models.layers import BinaryConv2d, BinaryLinear

both = pytest.mark.parametrize("kind", ["conv", "linear"])


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward and backward of a layer, and the gradients of its bare matrix product.

    `to_weight` and `to_codes` are what reaches the binary weight and the codes, computed from
    `weight` and `codes` as the test understands them.
    """

    layer: BinaryConv2d | BinaryLinear
    x: Tensor
    latent: Tensor
    output: Tensor
    upstream: Tensor

    def product(self, codes: Tensor, weight: Tensor) -> Tensor:
        if isinstance(self.layer, BinaryConv2d):
            return F.conv2d(codes, weight, padding=1)
        return codes @ weight.T

    def to_weight(self, codes: Tensor) -> Tensor:
        if isinstance(self.layer, BinaryConv2d):
            return conv_grad.conv2d_weight(codes, self.latent.shape, self.upstream, padding=1)
        return self.upstream.T @ codes

    def to_codes(self, weight: Tensor) -> Tensor:
        if isinstance(self.layer, BinaryConv2d):
            return conv_grad.conv2d_input(self.x.shape, weight, self.upstream, padding=1)
        return self.upstream @ weight


def run(method: str, kind: str, *, t: float = 1.0, shift: Tensor | None = None) -> Pass:
    source = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source, dtype=torch.float64)

    float_layer: nn.Conv2d | nn.Linear
    if kind == "conv":
        float_layer = nn.Conv2d(4, 6, 3, padding=1, bias=False).double()
        x, upstream = normal(3, 4, 5, 5), normal(3, 6, 5, 5)
    else:
        float_layer = nn.Linear(4, 6, bias=False).double()
        x, upstream = normal(9, 4), normal(9, 6)
    with torch.no_grad():
        float_layer.weight.copy_(normal(*float_layer.weight.shape))
        float_layer.weight[0].view(-1)[:3] = torch.tensor([1.0, -1.0, 0.0])
    x.view(-1)[:6] = torch.tensor([1.0, -1.0, 0.0, 0.5, -0.5, 1.0])
    layer = binarize(float_layer, method)
    assert isinstance(layer, BinaryConv2d | BinaryLinear)
    set_progress(layer, t)
    if shift is not None:
        assert isinstance(layer.activation, RSign)
        layer.activation.shift.data.copy_(shift)
    x.requires_grad_()
    output = layer(x)
    output.backward(upstream)
    return Pass(
        layer=layer,
        x=x,
        latent=layer.weight.detach().clone(),
        output=output.detach(),
        upstream=upstream,
    )


def signs(x: Tensor) -> Tensor:
    return torch.where(x >= 0, 1.0, -1.0).double()


def per_filter(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))


def filter_means(weight: Tensor) -> Tensor:
    means = [np.abs(row.numpy()).mean() for row in weight]
    return per_filter(torch.tensor(means, dtype=torch.float64), weight)


def check(done: Pass, *, codes: Tensor, weight: Tensor, to_latent: Tensor, to_x: Tensor) -> None:
    torch.testing.assert_close(done.output, done.product(codes, weight))
    torch.testing.assert_close(done.layer.weight.grad, to_latent)
    torch.testing.assert_close(done.x.grad, to_x)


@both
def test_bnn(kind: str) -> None:
    done = run("bnn", kind)
    x, w = done.x.detach(), done.latent
    codes, weight = signs(x), signs(w)
    check(
        done,
        codes=codes,
        weight=weight,
        to_latent=done.to_weight(codes) * (w.abs() < 1),
        to_x=done.to_codes(weight) * (x.abs() < 1),
    )


@both
def test_xnor(kind: str) -> None:
    done = run("xnor", kind)
    x, w = done.x.detach(), done.latent
    alpha = filter_means(w)
    codes, weight = signs(x), alpha * signs(w)
    two_terms = 1 / w[0].numel() + alpha * (w.abs() < 1)
    check(
        done,
        codes=codes,
        weight=weight,
        to_latent=done.to_weight(codes) * two_terms,
        to_x=done.to_codes(weight) * (x.abs() < 1),
    )


@both
def test_dorefa(kind: str) -> None:
    done = run("dorefa", kind)
    x, w = done.x.detach(), done.latent
    codes, weight = (x >= 0.5).double(), np.abs(w.numpy()).mean() * signs(w)
    check(
        done,
        codes=codes,
        weight=weight,
        to_latent=done.to_weight(codes),
        to_x=done.to_codes(weight) * ((x > 0) & (x < 1)),
    )


def test_dorefa_codes_are_the_rounded_clipped_activation() -> None:
    layer = binarize(nn.Linear(4, 2), "dorefa")
    assert isinstance(layer, BinaryLinear)
    x = torch.tensor([[-0.2, 0.1, 0.51, 1.7], [0.49, 0.9, -3.0, 0.7]])
    assert torch.equal(layer._codes(x), x.clamp(0, 1).round())


@both
def test_bireal_does_not_multiply_the_gradient_by_the_scale(kind: str) -> None:
    done = run("bireal", kind)
    x, w = done.x.detach(), done.latent
    codes, weight = signs(x), filter_means(w) * signs(w)
    check(
        done,
        codes=codes,
        weight=weight,
        to_latent=done.to_weight(codes) * (w.abs() < 1),
        to_x=done.to_codes(weight) * (2 - 2 * x.abs()).clamp(min=0),
    )


@both
def test_reactnet_learns_its_thresholds(kind: str) -> None:
    shift = torch.tensor([0.0, 0.3, -0.7, 1.1], dtype=torch.float64)
    done = run("reactnet", kind, shift=shift)
    x, w = done.x.detach(), done.latent
    shifted = x + shift.view(1, -1, *[1] * (x.dim() - 2))
    codes, weight = signs(shifted), filter_means(w) * signs(w)
    to_x = done.to_codes(weight) * (2 - 2 * shifted.abs()).clamp(min=0)
    check(
        done,
        codes=codes,
        weight=weight,
        to_latent=done.to_weight(codes) * (w.abs() < 1),
        to_x=to_x,
    )
    assert isinstance(done.layer.activation, RSign)
    channels_last = to_x.movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(done.layer.activation.shift.grad, channels_last.sum(0))


@both
@pytest.mark.parametrize(("t", "slope"), [(0.0, 1e-3), (0.75, 1.0), (0.9, 10**0.6), (1.0, 10.0)])
def test_irnet(kind: str, t: float, slope: float) -> None:
    done = run("irnet", kind, t=t)
    x, w = done.x.detach(), done.latent

    def decay(v: Tensor) -> Tensor:
        return max(1.0, slope) * (1 - torch.tanh(slope * v) ** 2)

    flat = w.reshape(len(w), -1)
    n = flat.shape[1]
    mean = flat.mean(1, keepdim=True)
    deviation = ((flat - mean).square().sum(1, keepdim=True) / (n - 1)).sqrt()
    standard = (flat - mean) / deviation
    scale = 2.0 ** torch.round(torch.log2(standard.abs().mean(1, keepdim=True)))
    codes, weight = signs(x), (scale * signs(standard)).view_as(w)
    to_standard = done.to_weight(codes).reshape(len(w), -1) * scale * decay(standard)
    # The Jacobian of standardisation, by hand: remove the mean and the part along the filter.
    along = (to_standard * standard).sum(1, keepdim=True) / (n - 1)
    to_latent = (to_standard - to_standard.mean(1, keepdim=True) - standard * along) / deviation
    check(
        done,
        codes=codes,
        weight=weight,
        to_latent=to_latent.view_as(w),
        to_x=done.to_codes(weight) * decay(x),
    )


def test_irnet_scale_is_the_nearest_power_of_two() -> None:
    rows = [[1.0, -1.0] * 32, [1.0, -1.0, *[0.0] * 62], [5.0, -1.0, *[0.1, -0.1] * 31]]
    weight = torch.tensor(rows, dtype=torch.float64)
    magnitude = [abs((np.array(r) - np.mean(r)) / np.std(r, ddof=1)).mean() for r in rows]
    _, scale = LibraWeight(Progress()).decompose(weight)
    assert scale.tolist() == [2.0 ** round(np.log2(m)) for m in magnitude]
    assert len(set(scale.tolist())) > 1


def test_standardize_has_the_gradient_of_its_formula() -> None:
    weight = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    result = standardize(weight).flatten(1)
    torch.testing.assert_close(result.mean(1), torch.zeros(3).double())
    torch.testing.assert_close(result.std(1), torch.ones(3).double())
    assert torch.autograd.gradcheck(standardize, weight)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_filter_is_no_reason_to_explode(value: float, dtype: torch.dtype) -> None:
    weight = torch.full((2, 9), value, dtype=dtype)
    weight[1] = torch.linspace(-1, 1, 9, dtype=dtype)
    weight.requires_grad_()
    binarizer = LibraWeight(Progress())
    result = binarizer(weight)
    assert result[0].tolist() == [1.0] * 9
    upstream = torch.linspace(-2, 1, 18, dtype=dtype).view(2, 9)
    (gradient,) = torch.autograd.grad(result, weight, upstream)
    centered = upstream[0] - upstream[0].mean()
    torch.testing.assert_close(gradient[0], 10 * centered)
    assert gradient[1].isfinite().all() and gradient[1].any()


def test_a_filter_of_one_weight_is_plus_one() -> None:
    layer = binarize(nn.Conv2d(3, 3, 1, groups=3, bias=False), "irnet")
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(layer(x), signs(x).float())


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 2, 4)])
def test_rprelu_is_its_formula(shape: tuple[int, ...]) -> None:
    module = RPReLU(3)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    at_start = torch.where(x >= 0, x, x / 4)
    torch.testing.assert_close(module(x), at_start)
    values = {
        "shift_in": torch.tensor([0.5, -1.0, 0.0]),
        "prelu.weight": torch.tensor([0.25, -0.5, 2.0]),
        "shift_out": torch.tensor([0.0, 3.0, -1.0]),
    }
    module.load_state_dict(values)
    moved = x.movedim(1, -1).numpy()
    inner = moved + values["shift_in"].numpy()
    expected = np.where(inner >= 0, inner, values["prelu.weight"].numpy() * inner)
    expected += values["shift_out"].numpy()
    np.testing.assert_allclose(module(x).detach().movedim(1, -1), expected, rtol=1e-5, atol=1e-6)


def test_only_bnn_clamps_its_latent_weights() -> None:
    for method, bound in (("bnn", 1.0), ("bireal", 7.0), ("xnor", 7.0)):
        layer = binarize(nn.Linear(2, 2), method)
        assert isinstance(layer, BinaryLinear)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[7.0, -0.5], [0.25, -7.0]]))
        layer.after_step()
        assert layer.weight.tolist() == [[bound, -0.5], [0.25, -bound]]


def test_reactnet_trains_real_weights_first() -> None:
    first, second = get("reactnet").plan
    assert (first.binary_weights, second.binary_weights) == (False, True)
    assert first.share + second.share == 1
    assert (first.weight_decay, second.weight_decay) == (1e-5, 0.0)
    assert len(get("bireal").plan) == 1
