"""The binary layers against loops over single numbers."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bitlens import after_step, before_step, binarize
from bitlens.models.layers import BinaryConv2d, BinaryLinear, binary_layers

Pad = Literal[0, 1, -1]
pads = pytest.mark.parametrize("pad", [0, 1, -1])


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def layer_of(source: nn.Conv2d, method: str, pad: Pad | None = None) -> BinaryConv2d:
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.copy_(random(*parameter.shape))
    layer = binarize(source, method, pad=pad)
    assert isinstance(layer, BinaryConv2d)
    return layer


def codes_of(x: Tensor, method: str) -> np.ndarray:
    """What the convolution sees: -1 / +1, or 0 / 1 for DoReFa."""
    if method == "dorefa":
        return (x.numpy() >= 0.5).astype(float)
    return np.where(x.numpy() >= 0, 1.0, -1.0)


def binary_weight(layer: BinaryConv2d | BinaryLinear, method: str) -> np.ndarray:
    latent = layer.weight.detach().double().numpy()
    scale = np.abs(latent).mean() if method == "dorefa" else 1.0
    return np.where(latent >= 0, scale, -scale)


def pad_by_hand(
    codes: np.ndarray, edges: list[tuple[int, int]], method: str, pad: Pad
) -> np.ndarray:
    value = (pad + 1) / 2 if method == "dorefa" else pad
    return np.pad(codes, [(0, 0), (0, 0), *edges], constant_values=value)


def convolve(
    codes: np.ndarray,
    weight: np.ndarray,
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Of already padded codes (n, c, h, w), one number at a time."""
    (n, c, h, w), (o, _, kh, kw) = codes.shape, weight.shape
    rows = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (w - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((n, o, rows, columns))
    for image, filter_, i, j in np.ndindex(out.shape):
        group = filter_ // (o // groups)
        for channel, a, b in product(range(c // groups), range(kh), range(kw)):
            row, column = i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1]
            code = codes[image, group * (c // groups) + channel, row, column]
            out[image, filter_, i, j] += code * weight[filter_, channel, a, b]
    return out


pairs = st.tuples(st.integers(1, 2), st.integers(1, 2))


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(("bnn", "dorefa")),
    pad=st.sampled_from((0, 1, -1)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=pairs,
    groups=st.integers(1, 2),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    bias=st.booleans(),
    training=st.booleans(),
)
def test_convolution_is_a_loop(
    method: str,
    pad: Pad,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    size: tuple[int, int],
    bias: bool,
    training: bool,
) -> None:
    for axis in (0, 1):
        assume(size[axis] + 2 * padding[axis] > dilation[axis] * (kernel[axis] - 1))
    source = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups, bias)
    layer = layer_of(source, method, pad).train(training)
    x = random(2, 2, *size)
    edges = [(padding[0], padding[0]), (padding[1], padding[1])]
    codes = pad_by_hand(codes_of(x, method), edges, method, pad)
    weight = binary_weight(layer, method)
    expected = convolve(codes, weight, stride=stride, dilation=dilation, groups=groups)
    if layer.bias is not None:
        expected += layer.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(layer(x).detach(), expected, rtol=1e-5, atol=1e-5)


@pads
@pytest.mark.parametrize("method", ["bnn", "dorefa"])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (2, 2), (1, 1), (3, 2), (2, 1)])
def test_same_padding_puts_the_odd_position_last(
    method: str, pad: Pad, kernel: int, dilation: int
) -> None:
    if (kernel, dilation) == (2, 1) and pad == (-1 if method == "dorefa" else 0):
        pytest.skip("torch itself warns about uneven zero padding")
    source = nn.Conv2d(2, 2, kernel, padding="same", dilation=dilation)
    layer = layer_of(source, method, pad)
    x = random(1, 2, 5, 4)
    extra = dilation * (kernel - 1)
    edges = [(extra // 2, extra - extra // 2)] * 2
    codes = pad_by_hand(codes_of(x, method), edges, method, pad)
    expected = convolve(codes, binary_weight(layer, method), dilation=(dilation, dilation))
    expected += layer.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(layer(x).detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["bnn", "dorefa"])
@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("reflect", "reflect"), ("circular", "wrap"), ("replicate", "edge")]
)
def test_padding_modes_copy_codes(method: str, mode: str, numpy_mode: str) -> None:
    source = nn.Conv2d(2, 2, 3, padding=(2, 1), padding_mode=mode, bias=False)
    layer = layer_of(source, method)
    x = random(2, 2, 4, 5)
    codes = np.pad(codes_of(x, method), [(0, 0), (0, 0), (2, 2), (1, 1)], mode=numpy_mode)
    expected = convolve(codes, binary_weight(layer, method))
    for training in (True, False):
        actual = layer.train(training)(x).detach()
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pads
def test_padding_changed_after_the_layer_was_made_is_what_counts(pad: Pad) -> None:
    source = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    source.dilation, source.padding = (2, 2), (2, 2)
    layer = layer_of(source, "bnn", pad)
    x = random(1, 2, 5, 5)
    codes = pad_by_hand(codes_of(x, "bnn"), [(2, 2), (2, 2)], "bnn", pad)
    expected = convolve(codes, binary_weight(layer, "bnn"), dilation=(2, 2))
    np.testing.assert_allclose(layer(x).detach(), expected, atol=1e-5)


def test_dorefa_pads_its_zero_code() -> None:
    layer = layer_of(nn.Conv2d(3, 4, 3, padding=1), "dorefa")
    assert layer.pad == -1
    x = random(2, 3, 6, 6)
    codes = (x >= 0.5).float()
    weight = torch.from_numpy(binary_weight(layer, "dorefa")).float()
    torch.testing.assert_close(layer(x), F.conv2d(codes, weight, layer.bias, padding=1))


@pytest.mark.parametrize("method", ["bnn", "irnet", "reactnet"])
@pytest.mark.parametrize("training", [True, False])
def test_an_image_without_a_batch_axis_is_a_batch_of_one(method: str, training: bool) -> None:
    layer = layer_of(nn.Conv2d(3, 4, 3), method).train(training)
    x = random(3, 5, 6)
    assert torch.equal(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("method", ["bnn", "dorefa"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (2, 1, 3, 5), (0, 5), (0, 3, 5)])
def test_linear_multiplies_its_last_axis(
    method: str, training: bool, shape: tuple[int, ...]
) -> None:
    source = nn.Linear(5, 3)
    with torch.no_grad():
        source.weight.copy_(random(3, 5))
    layer = binarize(source, method).train(training)
    assert isinstance(layer, BinaryLinear)
    x = random(*shape)
    expected = codes_of(x, method) @ binary_weight(layer, method).T + layer.bias.detach().numpy()
    output = layer(x).detach()
    assert output.shape == (*shape[:-1], 3)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)


def test_linear_thresholds_belong_to_the_last_axis() -> None:
    layer = binarize(nn.Linear(5, 3), "reactnet")
    shift = torch.linspace(-1, 1, 5)
    layer.load_state_dict(layer.state_dict() | {"activation.shift": shift})
    x = random(2, 4, 5)
    plain = binarize(nn.Linear(5, 3), "bireal")
    plain.load_state_dict(
        {k: v for k, v in layer.state_dict().items() if not k.startswith("activation")}
    )
    assert torch.equal(layer(x), plain(x + shift))


def test_channels_last_gives_the_same_numbers() -> None:
    layer = layer_of(nn.Conv2d(4, 6, 3, padding=1), "irnet")
    x = random(2, 4, 7, 7)
    expected = layer(x)
    layer.to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), expected)


def test_a_printed_layer_names_its_method_and_padding() -> None:
    net = binarize(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Linear(4, 5)), "dorefa")
    assert "2, 3, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), pad=-1, method=dorefa" in str(
        net
    )
    assert "4, 5, method=dorefa" in str(net)


def test_binary_layers_come_in_order_by_name() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.Linear(2, 2))
    binarize(net, keep_float=("0",))
    assert list(binary_layers(net)) == ["2", "3"]
    assert binary_layers(nn.Linear(2, 2)) == {}


@pytest.mark.parametrize("method", ["rbnn", "subbit", "recu", "vispa"])
def test_under_autocast_training_takes_the_signs_of_evaluation(method: str) -> None:
    torch.manual_seed(0)
    layer = binarize(nn.Conv2d(16, 24, 3, bias=False), method)
    assert isinstance(layer, BinaryConv2d)
    used: list[Tensor] = []
    handle = layer.weight_binarizer.register_forward_hook(lambda *given: used.append(given[2]))
    x = torch.randn(2, 16, 5, 5)
    expected = layer.signs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
        assert torch.equal(layer.signs(), expected)
        evaluated = layer.eval()(x)
        assert torch.is_autocast_enabled("cpu"), "the caller's autocast is as it was"
    handle.remove()
    assert out.dtype == torch.bfloat16, "the product stays under autocast"
    assert used[0].dtype == torch.float32
    scale = layer.weight_binarizer.decompose(layer.weight)[1]
    assert (scale > 0).all() and torch.equal(used[0].sign(), expected)
    torch.testing.assert_close(evaluated, layer(x), rtol=2e-2, atol=1e-2, check_dtype=False)


def test_hooks_around_the_step_make_no_graph() -> None:
    seen: list[bool] = []
    layer = binarize(nn.Linear(3, 2))
    assert isinstance(layer, BinaryLinear)
    layer.weight_binarizer.before_step = lambda weight: seen.append(torch.is_grad_enabled())
    layer.weight_binarizer.after_step = lambda weight: seen.append(torch.is_grad_enabled())
    before_step(layer)
    after_step(layer)
    assert seen == [False, False]
