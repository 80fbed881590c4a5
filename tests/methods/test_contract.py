"""What every entry of METHODS must do, on a convolution and on a linear layer."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from bitlens import binarize, set_progress
from bitlens.errors import BitlensError
from bitlens.methods import METHODS, get
from bitlens.methods.contract import Progress, Sign
from bitlens.methods.reactnet import RSign
from bitlens.models.layers import BinaryConv2d, BinaryLinear

KINDS = ("conv", "linear")
every = pytest.mark.parametrize("method", METHODS)
both = pytest.mark.parametrize("kind", KINDS)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(method: str, kind: str, *, seed: int = 0, bias: bool = True) -> nn.Module:
    """Two float64 layers, the first of them binary, with latents on both sides of the clip."""
    first = nn.Conv2d(4, 6, 3, padding=1, bias=bias) if kind == "conv" else nn.Linear(7, 6, bias)
    last = [nn.Flatten(), nn.Linear(6 * 25, 3)] if kind == "conv" else [nn.Linear(6, 3)]
    net = binarize(nn.Sequential(first, *last).double(), method, keep_float=(str(len(last)),))
    source = generator(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source, dtype=torch.float64))
    return net


def binary(net: nn.Module) -> BinaryConv2d | BinaryLinear:
    layer = net.get_submodule("0")
    assert isinstance(layer, BinaryConv2d | BinaryLinear)
    return layer


def images(kind: str, *, seed: int = 1, count: int = 5) -> Tensor:
    shape = (count, 4, 5, 5) if kind == "conv" else (count, 7)
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    output = net(x)
    return list(torch.autograd.grad(output.square().sum(), [x, *net.parameters()]))


@every
@both
def test_activation_codes_are_signs(method: str, kind: str) -> None:
    net = build(method, kind)
    seen: list[Tensor] = []
    layer = binary(net)
    layer.activation.sign.register_forward_hook(lambda m, i, o: seen.append(o))
    net(images(kind))
    assert isinstance(layer.activation.sign, Sign)
    assert seen[0].shape == images(kind).shape
    assert set(seen[0].unique().tolist()) == {-1.0, 1.0}
    assert set(layer._codes(images(kind)).unique().tolist()) == set(layer.activation.levels)


@every
def test_a_value_at_the_threshold_is_plus_one(method: str) -> None:
    activation = get(method).activation(3, Progress())
    threshold = torch.tensor([0.5 if method == "dorefa" else 0.0])
    if isinstance(activation, RSign):
        threshold = torch.tensor([-0.25])
        nn.init.constant_(activation.shift, 0.25)
    at = threshold.expand(2, 3)
    below = torch.nextafter(at, torch.tensor(-9.0)) if method != "reactnet" else at - 1e-6
    assert (activation(at) == 1).all()
    assert (activation(below) == -1).all()


@every
@both
def test_the_two_views_of_a_weight_are_the_same_numbers(method: str, kind: str) -> None:
    layer = binary(build(method, kind))
    with torch.no_grad():
        layer.weight.view(-1)[:2] = torch.tensor([0.0, -0.0])
    signs, scale = layer.weight_binarizer.decompose(layer.weight)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert signs.shape == layer.weight.shape and scale.shape == layer.weight.shape[:1]
    assert not signs.requires_grad and not scale.requires_grad
    assert torch.equal(layer.signs(), signs)
    shaped = scale.view(-1, *[1] * (signs.dim() - 1))
    assert torch.equal(layer.weight_binarizer(layer.weight), signs * shaped)


@every
@both
def test_a_zero_weight_counts_as_plus_one(method: str, kind: str) -> None:
    layer = binary(build(method, kind))
    with torch.no_grad():
        layer.weight.zero_()
    signs, scale = layer.weight_binarizer.decompose(layer.weight)
    assert (signs == 1).all() and scale.isfinite().all()


@every
@both
@pytest.mark.parametrize("t", [0.0, 0.6, 1.0])
def test_gradients_are_finite_and_alive(method: str, kind: str, t: float) -> None:
    net = build(method, kind)
    set_progress(net, t)
    for gradient in gradients(net, images(kind)):
        assert gradient.isfinite().all() and gradient.any()


@every
@both
def test_zero_weights_get_finite_gradients(method: str, kind: str) -> None:
    net = build(method, kind)
    with torch.no_grad():
        binary(net).weight.zero_()
    assert all(gradient.isfinite().all() for gradient in gradients(net, images(kind)))


@every
@both
def test_two_passes_at_the_end_of_training_agree_bit_for_bit(method: str, kind: str) -> None:
    net = build(method, kind)
    x = images(kind)
    first, second = ([net(x), *gradients(net, x)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    net.eval()
    assert torch.equal(net(x), net(x))


@every
@both
def test_training_and_evaluation_compute_the_same(method: str, kind: str) -> None:
    net = build(method, kind)
    x = images(kind)
    torch.testing.assert_close(net.train()(x), net.eval()(x))
    to_input = [
        torch.autograd.grad(net.train(training)(leaf).square().sum(), leaf)[0]
        for training in (True, False)
        for leaf in [x.clone().requires_grad_()]
    ]
    torch.testing.assert_close(*to_input)


@every
def test_evaluation_gives_the_latent_weight_no_gradient(method: str) -> None:
    net = build(method, "linear").eval()
    net(images("linear")).sum().backward()
    assert binary(net).weight.grad is None


@every
@both
def test_accumulators_in_evaluation_are_exact_integers(method: str, kind: str) -> None:
    source = nn.Conv2d(64, 24, 3, padding=1, bias=False) if kind == "conv" else nn.Linear(777, 24)
    layer = binarize(source, method)
    assert isinstance(layer, BinaryConv2d | BinaryLinear)
    shape = (2, 64, 9, 9) if kind == "conv" else (5, 777)
    x = torch.randn(shape, generator=generator(3)) + 0.2
    seen: list[Tensor] = []
    patched = F.conv2d if kind == "conv" else F.linear

    def record(*arguments: object) -> Tensor:
        seen.append(patched(*arguments))
        return seen[-1]

    name = "conv2d" if kind == "conv" else "linear"
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(F, name, record)
        output = layer.eval()(x)
    signs, scale = layer.weight_binarizer.decompose(layer.weight)
    codes, integers = layer._codes(x).long(), signs.long()
    exact = F.conv2d(codes, integers, padding=1) if kind == "conv" else F.linear(codes, integers)
    assert torch.equal(seen[0].double(), exact.double())
    scaled = seen[0] * (scale.view(1, -1, 1, 1) if kind == "conv" else scale)
    assert torch.equal(output, scaled if layer.bias is None else scaled + layer.bias)


@every
@both
@pytest.mark.parametrize("file", ["torch", "safetensors"])
def test_saving_and_loading_restores_outputs_and_progress(
    method: str, kind: str, file: str, tmp_path: Path
) -> None:
    saved, loaded = build(method, kind, seed=0), build(method, kind, seed=9)
    set_progress(saved, 0.3)
    if file == "torch":
        buffer = io.BytesIO()
        torch.save(saved.state_dict(), buffer)
        buffer.seek(0)
        loaded.load_state_dict(torch.load(buffer, weights_only=True))
    else:
        safetensors.torch.save_model(saved, str(tmp_path / "net.safetensors"))
        safetensors.torch.load_model(loaded, tmp_path / "net.safetensors")
    x = images(kind)
    assert torch.equal(loaded(x), saved(x))
    assert loaded.__dict__[Progress.HOLDER].value == pytest.approx(0.3)
    for a, b in zip(gradients(loaded, x), gradients(saved, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@every
def test_a_copy_has_its_own_progress_and_weights(method: str) -> None:
    net = build(method, "linear")
    set_progress(net, 0.2)
    twin = copy.deepcopy(net)
    x = images("linear")
    before = gradients(twin, x)
    set_progress(net, 0.9)
    with torch.no_grad():
        binary(net).weight.neg_()
    assert twin.__dict__[Progress.HOLDER].value == 0.2
    assert twin.get_buffer(Progress.BUFFER).item() == pytest.approx(0.2)
    assert all(torch.equal(a, b) for a, b in zip(gradients(twin, x), before, strict=True))
    set_progress(twin, 0.5)
    assert net.__dict__[Progress.HOLDER].value == 0.9


@every
@both
def test_per_image_gradients_under_vmap_equal_a_loop(method: str, kind: str) -> None:
    net = build(method, kind)
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())

    def loss(values: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(net, (values, buffers), (image[None],)).square().sum()

    x = images(kind, count=3)
    batched = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for index, image in enumerate(x):
        for name, gradient in grad(loss)(parameters, image).items():
            torch.testing.assert_close(batched[name][index], gradient)


@every
@both
def test_the_first_stage_of_two_keeps_real_weights(method: str, kind: str) -> None:
    net = build(method, kind)
    layer = binary(net)
    layer.binary_weights = False
    x = images(kind)
    codes = layer._codes(x)
    if kind == "linear":
        expected = F.linear(codes, layer.weight, layer.bias)
    else:
        low, _ = layer.activation.levels
        assert low in (-1.0, 0.0)
        expected = F.conv2d(codes, layer.weight, layer.bias, padding=1)
    for training in (True, False):
        torch.testing.assert_close(layer.train(training)(x), expected)


@every
def test_a_net_learns_which_side_of_a_line_a_point_lies_on(method: str) -> None:
    source = generator(4)
    x = torch.randn(256, 7, generator=source, dtype=torch.float64)
    labels = (x[:, 0] + 0.7 * x[:, 3] > 0).long()
    net = build(method, "linear", seed=5)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for step in range(150):
        set_progress(net, step / 149)
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        binary(net).after_step()
        losses.append(loss.item())
    assert losses[-1] < 0.55 < losses[0], losses


@pytest.mark.parametrize("t", [-0.1, 1.1, float("nan")])
def test_progress_outside_its_range_is_refused(t: float) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        set_progress(build("irnet", "linear"), t)


def test_an_unknown_method_suggests_a_near_one() -> None:
    with pytest.raises(BitlensError, match="unknown method 'reaktnet'; did you mean reactnet"):
        get("reaktnet")
