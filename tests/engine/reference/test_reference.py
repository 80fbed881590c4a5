"""The slow reference against torch, and its fused multiply-add against exact fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.reference import operations as ops
from bitlens.engine.reference.run import run
from bitlens.engine.words import pack_blocks, pack_rows
from bitlens.errors import BitlensError

Array = Any


def graph_of(
    node: Node,
    shape: tuple[int, int, int],
    tensors: dict[str, Array],
    *,
    kind: Any = "float",
    more: tuple[Value, ...] = (),
) -> Graph:
    """A graph of one node from `x` to `y`."""
    values = {"x": Value(name="x", kind=kind, shape=shape)}
    values |= {value.name: value for value in more}
    if "y" not in values:
        values["y"] = Value(name="y", kind="float", shape=node.shape)
    return Graph(
        nodes=(node,), values=values, tensors=tensors, input="x", output="y", output_rank=4
    )


def nhwc(x: torch.Tensor) -> Array:
    return x.permute(0, 2, 3, 1).contiguous().numpy()


def nchw(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2)


def signs(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], shape)).float()


def outside(size: int, kernel: int, stride: int, dilation: int, pad: int) -> int:
    return (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1


@pytest.mark.parametrize("pad", [0, 1, -1])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(
    ("c", "o", "groups", "kernel", "stride", "dilation", "border"),
    [
        (3, 5, 1, (3, 3), (1, 1), (1, 1), 1),
        (70, 66, 1, (1, 1), (1, 1), (1, 1), 0),
        (12, 8, 4, (3, 2), (2, 1), (1, 1), 1),
        (6, 6, 6, (3, 3), (1, 1), (2, 2), 2),
        (33, 7, 1, (5, 5), (3, 2), (1, 1), 2),
    ],
)
def test_binary_conv_is_conv2d_of_signs(
    c: int,
    o: int,
    groups: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    border: int,
    pad: Any,
    unit: bool,
) -> None:
    x, w = signs(1, 2, c, 7, 9), signs(2, o, c // groups, *kernel)
    level = (x + 1) / 2 if unit else x
    padded = (pad + 1) / 2 if unit else pad
    sides = F.pad(level, (border,) * 4, value=float(padded))
    expected = F.conv2d(sides, w, stride=stride, dilation=dilation, groups=groups)
    packed = pack_blocks(w.numpy(), groups)
    node = Node(
        name="conv",
        op="binary_conv",
        inputs=("x",),
        steps=(Step(op="store", value="y"),),
        shape=(expected.shape[2], expected.shape[3], o),
        window=Window(kernel=kernel, stride=stride, dilation=dilation, pads=(border,) * 4),
        groups=groups,
        pad=pad,
        unit=unit,
        weights="w",
    )
    graph = graph_of(node, (7, 9, c), {"w": packed}, kind="codes")
    values = {**graph.values, "x": Value(name="x", kind="codes", shape=(7, 9, c))}
    made = run(Graph(**{**graph.__dict__, "values": values}), nhwc(x).astype(np.int8))
    np.testing.assert_array_equal(made["y"], nhwc(expected))


def test_a_float_image_becomes_codes_through_a_sign_step() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    threshold = np.array([0.0, 0.3, -0.3], np.float32)
    step = Step(op="sign", a="a", b="b", value="s")
    node = Node(
        name="sign",
        op="elementwise",
        inputs=("x",),
        steps=(step, Step(op="store", value="y")),
        shape=(4, 5, 3),
    )
    tensors = {"a": threshold, "b": np.array([0, 1, 0], np.uint8)}
    code = Value(name="s", kind="codes", shape=(4, 5, 3))
    made = run(graph_of(node, (4, 5, 3), tensors, more=(code,)), nhwc(x))
    expected = torch.where(x >= torch.from_numpy(threshold)[:, None, None], 1, -1)
    expected[:, 1] *= -1
    np.testing.assert_array_equal(made["s"], nhwc(expected))
    np.testing.assert_array_equal(made["y"], nhwc(x))
    assert made["s"].dtype == np.int8


@pytest.mark.parametrize(("groups", "stride", "border"), [(1, 2, 3), (2, 1, 0), (3, 1, 1)])
def test_int8_conv_counts_padding_as_real_zero(groups: int, stride: int, border: int) -> None:
    draw = np.random.default_rng(3)
    c, o, k = 6, 12, 3
    image = draw.integers(0, 256, (2, 8, 7, c), np.uint8)
    weights = draw.integers(-127, 128, (o, k, k, c // groups)).astype(np.int8)
    scale = draw.uniform(1e-3, 1e-2, o).astype(np.float32)
    zero = draw.uniform(90, 160, c).astype(np.float32)
    real = nchw(image).double() - torch.from_numpy(zero.astype(np.float64))[:, None, None]
    w = torch.from_numpy(weights.astype(np.float64)).permute(0, 3, 1, 2)
    w = w * torch.from_numpy(scale.astype(np.float64))[:, None, None, None]
    expected = F.conv2d(real, w, stride=stride, padding=border, groups=groups)
    node = Node(
        name="stem",
        op="int8_conv",
        inputs=("x",),
        steps=(Step(op="store", value="y"),),
        shape=(expected.shape[2], expected.shape[3], o),
        window=Window(kernel=(k, k), stride=(stride, stride), pads=(border,) * 4),
        groups=groups,
        weights="w",
        scale="s",
        zero="z",
    )
    made = run(graph_of(node, (8, 7, c), {"w": weights, "s": scale, "z": zero}, kind="u8"), image)
    np.testing.assert_allclose(made["y"], nhwc(expected), rtol=1e-5, atol=2e-4)
    integer = F.conv2d(
        nchw(image).double(),
        torch.from_numpy(weights.astype(np.float64)).permute(0, 3, 1, 2),
        stride=stride,
        padding=border,
        groups=groups,
    )
    without = run(
        graph_of(node, (8, 7, c), {"w": weights, "s": scale, "z": 0 * zero}, kind="u8"), image
    )
    np.testing.assert_array_equal(without["y"], nhwc(integer).astype(np.float32) * scale)


@pytest.mark.parametrize("op", ["float_conv", "sign_conv"])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_of_floats(op: Any, groups: int) -> None:
    x = torch.randn(2, 6, 5, 6, generator=torch.Generator().manual_seed(0))
    w = signs(1, 4, 6 // groups, 3, 3)
    if op == "float_conv":
        w = w * torch.rand(w.shape, generator=torch.Generator().manual_seed(1))
    expected = F.conv2d(x.double(), w.double(), stride=2, padding=1, groups=groups).float()
    rows = w.permute(0, 2, 3, 1).contiguous().numpy()
    node = Node(
        name="conv",
        op=op,
        inputs=("x",),
        steps=(Step(op="store", value="y"),),
        shape=(3, 3, 4),
        window=Window(kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1)),
        groups=groups,
        weights="w",
    )
    packed = rows if op == "float_conv" else pack_rows(w.numpy())
    made = run(graph_of(node, (5, 6, 6), {"w": packed}), nhwc(x))
    np.testing.assert_allclose(made["y"], nhwc(expected), rtol=1e-6, atol=1e-7)


def pool(op: Any, x: torch.Tensor, shape: tuple[int, ...], **fields: Any) -> Array:
    node = Node(
        name="pool",
        op=op,
        inputs=("x",),
        steps=(Step(op="store", value="y"),),
        shape=(shape[2], shape[3], shape[1]),
        **fields,
    )
    return run(graph_of(node, (x.shape[2], x.shape[3], x.shape[1]), {}), nhwc(x))["y"]


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "border"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_pools_are_those_of_torch_bit_for_bit(
    kernel: int, stride: int, border: int, ceil: bool
) -> None:
    x = torch.randn(2, 5, 8, 7, generator=torch.Generator().manual_seed(0))
    expected = F.max_pool2d(x, kernel, stride, border, ceil_mode=ceil)
    below = [
        (expected.shape[2 + i] - 1) * stride + kernel - x.shape[2 + i] - border for i in (0, 1)
    ]
    window = Window(
        kernel=(kernel, kernel),
        stride=(stride, stride),
        pads=(border, border, max(below[0], 0), max(below[1], 0)),
    )
    np.testing.assert_array_equal(
        pool("max_pool", x, expected.shape, window=window), nhwc(expected)
    )
    for attributes, options in (
        ({"count": "inside"}, {"count_include_pad": False}),
        ({"count": "padded", "padding": [border, border]}, {"count_include_pad": True}),
        ({"count": 3}, {"divisor_override": 3}),
    ):
        averaged = F.avg_pool2d(x, kernel, stride, border, ceil_mode=ceil, **options)
        made = pool("avg_pool", x, averaged.shape, window=window, attributes=attributes)
        np.testing.assert_array_equal(made, nhwc(averaged), err_msg=str(attributes))


def test_max_pool_keeps_nan() -> None:
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    x[0, 0, 1, 1] = torch.nan
    window = Window(kernel=(2, 2), stride=(2, 2))
    expected = F.max_pool2d(x, 2)
    assert torch.isnan(expected).sum() == 1
    np.testing.assert_array_equal(
        pool("max_pool", x, expected.shape, window=window), nhwc(expected)
    )


def move(op: Any, x: torch.Tensor, shape: tuple[int, ...], **attributes: Any) -> Array:
    node = Node(
        name=op,
        op=op,
        inputs=("x",),
        output="y",
        shape=(shape[2], shape[3], shape[1]),
        attributes=attributes,
    )
    return run(graph_of(node, (x.shape[2], x.shape[3], x.shape[1]), {}), nhwc(x))["y"]


@pytest.mark.parametrize("size", [(7, 4), (10, 14), (3, 3), (13, 1), (5, 7), (2, 40)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "corners"])
def test_resize_to_a_size(size: tuple[int, int], mode: str) -> None:
    x = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"mode": "nearest"}
    if mode != "nearest":
        options = {"mode": "bilinear", "align_corners": mode == "corners"}
    expected = F.interpolate(x, size, **options)
    made = move("resize", x, expected.shape, scale=None, **options)
    if mode == "nearest":
        np.testing.assert_array_equal(made, nhwc(expected))
    else:
        np.testing.assert_allclose(made, nhwc(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [(1.7, 2.3), (2.0, 2.0), (2.05, 2.06), (0.6, 1.1), (3.0, 0.5)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resize_by_a_factor(factor: tuple[float, float], mode: str) -> None:
    x = torch.randn(2, 3, 11, 9, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(x, scale_factor=factor, mode=mode)
    made = move("resize", x, expected.shape, scale=list(factor), mode=mode)
    np.testing.assert_allclose(made, nhwc(expected), rtol=1e-5, atol=1e-6)


def test_what_moves_values() -> None:
    x = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(move("flatten", x, (2, 105, 1, 1))[:, 0, 0], x.flatten(1).numpy())
    padded = F.pad(x, (1, 2, 3, 0, 1, 2), value=-1.5)
    made = move("pad", x, padded.shape, pads=[3, 1, 0, 2], channels=[1, 2], value=-1.5)
    np.testing.assert_array_equal(made, nhwc(padded))
    for mode in ("reflect", "replicate", "circular"):
        padded = F.pad(x, (1, 2, 3, 0), mode=mode)
        made = move("pad", x, padded.shape, pads=[3, 1, 0, 2], mode=mode)
        np.testing.assert_array_equal(made, nhwc(padded), err_msg=mode)
    part = x[:, 1:3, 0:5:2, 3:7:3]
    made = move("slice", x, part.shape, channels=[1, 3, 1], rows=[0, 5, 2], columns=[3, 7, 3])
    np.testing.assert_array_equal(made, nhwc(part))


UNARY = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "elu": F.elu,
    "exp": torch.exp,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
}


@pytest.mark.parametrize("function", sorted(UNARY))
def test_unary_functions(function: str) -> None:
    x = 3 * torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, :3] = torch.tensor([torch.nan, 0.0, 90.0])
    expected = UNARY[function](x.double()).float()
    made = move("unary", x, x.shape, function=function)
    np.testing.assert_allclose(made, nhwc(expected), rtol=2e-7, atol=1e-30)


def test_options_of_unary_functions() -> None:
    x = torch.linspace(-4, 4, 24).reshape(1, 2, 3, 4)
    rounded = F.gelu(x.double(), approximate="tanh").float()
    made = move("unary", x, x.shape, function="gelu", approximate="tanh")
    np.testing.assert_allclose(made, nhwc(rounded), rtol=1e-6, atol=1e-30)
    made = move("unary", x, x.shape, function="elu", alpha=0.3)
    np.testing.assert_allclose(made, nhwc(F.elu(x.double(), 0.3).float()), rtol=1e-6)


def test_concat_joins_channels() -> None:
    x = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    node = Node(name="cat", op="concat", inputs=("x", "x"), output="y", shape=(2, 2, 6))
    made = run(graph_of(node, (2, 2, 3), {}), nhwc(x))
    np.testing.assert_array_equal(made["y"], nhwc(torch.cat([x, x], 1)))


def walk(x: torch.Tensor, steps: tuple[Step, ...], **tensors: Array) -> dict[str, Array]:
    shape = (x.shape[2], x.shape[3], x.shape[1])
    node = Node(name="e", op="elementwise", inputs=("x",), steps=steps, shape=shape)
    more = [Value(name="q", kind="u8", shape=shape), Value(name="v", kind="float", shape=shape)]
    return run(graph_of(node, shape, tensors, more=tuple(more)), nhwc(x))


def test_batch_norm_is_one_fused_step() -> None:
    norm = torch.nn.BatchNorm2d(16).eval()
    with torch.no_grad():
        for part in (norm.weight, norm.bias, norm.running_mean):
            part.normal_(generator=torch.Generator().manual_seed(4))
        norm.running_var.uniform_(0.1, 3, generator=torch.Generator().manual_seed(5))
    x = torch.randn(4, 16, 9, 9, generator=torch.Generator().manual_seed(0))
    mean, gamma = norm.running_mean.numpy(), norm.weight.detach().numpy()
    alpha = (np.float32(1) / np.sqrt(norm.running_var.numpy() + np.float32(norm.eps))) * gamma
    beta = ops.fused_multiply_add(-mean, alpha, norm.bias.detach().numpy())
    made = walk(
        x, (Step(op="multiply_add", a="a", b="b"), Step(op="store", value="y")), a=alpha, b=beta
    )
    np.testing.assert_array_equal(made["y"], nhwc(norm(x).detach()))


def test_steps_one_after_the_other() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    slope = torch.tensor([0.25, -0.5, 2.0])
    steps = (
        Step(op="prelu", a="slope"),
        Step(op="store", value="v"),
        Step(op="multiply", a="two"),
        Step(op="add", a="one"),
        Step(op="add_value", value="x"),
        Step(op="multiply_value", value="v"),
        Step(op="clamp", low=-1.0, high=2.0),
        Step(op="store", value="y"),
    )
    two, one = torch.tensor([2.0, 0.3, -1.0]), torch.tensor([0.1, 0.2, 0.3])
    made = walk(x, steps, slope=slope.numpy(), two=two.numpy(), one=one.numpy())
    first = F.prelu(x, slope)
    np.testing.assert_array_equal(made["v"], nhwc(first))
    after = first * two[:, None, None] + one[:, None, None]
    expected = ((after + x) * first).clamp(-1, 2)
    np.testing.assert_array_equal(made["y"], nhwc(expected))


def test_a_value_without_extent_meets_every_position() -> None:
    gate = Value(name="g", kind="float", shape=(1, 1, 3))
    squeeze = Node(
        name="squeeze",
        op="avg_pool",
        inputs=("x",),
        steps=(Step(op="store", value="g"),),
        shape=(1, 1, 3),
        window=Window(kernel=(2, 2)),
        attributes={"count": "inside"},
    )
    scale = Node(
        name="scale",
        op="elementwise",
        inputs=("x",),
        steps=(Step(op="multiply_value", value="g"), Step(op="store", value="y")),
        shape=(2, 2, 3),
    )
    x = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    graph = graph_of(scale, (2, 2, 3), {}, more=(gate,))
    made = run(Graph(**{**graph.__dict__, "nodes": (squeeze, scale)}), nhwc(x))
    expected = x * F.avg_pool2d(x, 2)
    np.testing.assert_array_equal(made["y"], nhwc(expected))


def test_clamp_keeps_nan_and_quantize_takes_it_as_zero() -> None:
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0]).reshape(1, 4, 1, 1)
    steps = (
        Step(op="clamp", low=0.0, high=6.0),
        Step(op="store", value="y"),
        Step(op="quantize", value="q", scale=10.0, zero=3),
    )
    made = walk(x, steps)
    np.testing.assert_array_equal(made["y"], [[[[np.nan, 6, 0, 1]]]])
    np.testing.assert_array_equal(made["q"], [[[[0, 63, 3, 13]]]])


@pytest.mark.parametrize(("scale", "zero"), [(8.0, 0), (37.5, 128), (1.0, 255), (0.25, 7)])
def test_quantize_is_the_rounding_of_torch(scale: float, zero: int) -> None:
    x = torch.arange(-2000, 2000).reshape(1, 4, 20, 50) / 16
    made = walk(x, (Step(op="quantize", value="q", scale=scale, zero=zero),))
    real = torch.fake_quantize_per_tensor_affine(x, 1 / scale, zero, 0, 255)
    np.testing.assert_array_equal(made["q"], nhwc((real * scale).round() + zero))
    assert made["q"].dtype == np.uint8


def rounded(x: Fraction) -> float:
    """The float32 nearest to a fraction, ties to even, found by trying the neighbours."""
    guess = np.float32(float(x))
    with np.errstate(over="ignore"):
        near = [np.nextafter(guess, np.float32(side)) for side in (-np.inf, np.inf)]
    choices = [v for v in (guess, *near) if np.isfinite(v)]

    def key(value: np.float32) -> tuple[Fraction, int]:
        return abs(Fraction(float(value)) - x), int(value.view(np.uint32)) & 1

    return float(min(choices, key=key))


finite = st.floats(width=32, allow_nan=False, min_value=-(2.0**60), max_value=2.0**60)


@settings(max_examples=300, deadline=None)
@given(finite, finite, finite)
@example(1.0 + 2**-23, 1.0 + 2**-23, 2.0**-80)
@example(1.0, 1.0 + 2**-23, 2.0**-24 * (1 + 2**-23))
@example(3.0, 2.0**-149, -(2.0**-140))
@example(4097.0, 4097.0, 2.0**-70)
@example(16777215.0, 16777215.0, -(2.0**-60))
def test_the_fused_step_rounds_once(x: float, a: float, b: float) -> None:
    made = ops.fused_multiply_add(*(np.array([v], np.float32) for v in (x, a, b)))
    exact = Fraction(x) * Fraction(a) + Fraction(b)
    assert float(made[0]) == rounded(exact)


def test_the_fused_step_where_rounding_twice_would_differ() -> None:
    # 1 + 2^-24 is a tie of float32; the tail below float64's last bit decides it.
    x, a = np.float32(1 + 2**-12), np.float32(1 + 2**-12)
    product = Fraction(float(x)) * Fraction(float(a))
    tail = np.float32(2.0**-90)
    for b, tie in ((tail, product + Fraction(2) ** -90), (-tail, product - Fraction(2) ** -90)):
        made = ops.fused_multiply_add(np.array([x]), np.array([a]), np.array([b], np.float32))
        assert float(made[0]) == rounded(tie)
    twice = np.float32(np.float64(x) * np.float64(a) + np.float64(tail))
    assert float(twice) != rounded(product + Fraction(2) ** -90)


def test_the_fused_step_keeps_what_is_not_finite() -> None:
    x = np.array([np.inf, np.nan, np.inf, 3e38], np.float32)
    a = np.array([1, 1, 0, 10], np.float32)
    np.testing.assert_array_equal(
        ops.fused_multiply_add(x, a, np.zeros(4, np.float32)), [np.inf, np.nan, np.nan, np.inf]
    )


def test_images_that_do_not_fit() -> None:
    x = torch.zeros(1, 3, 2, 2)
    with pytest.raises(BitlensError, match=r"images are float64 .* takes float32 \(n, 2, 2, 3\)"):
        node = Node(
            name="e",
            op="elementwise",
            inputs=("x",),
            steps=(Step(op="store", value="y"),),
            shape=(2, 2, 3),
        )
        run(graph_of(node, (2, 2, 3), {}), nhwc(x.double()))
