"""How convolutions and linear layers of torch become windows over an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.freeze.flow import Array, Op, Shape, View, image_view, tag
from bitlens.engine.freeze.translation import Translation
from bitlens.engine.graph import Window

aten: Any = torch.ops.aten
bitlens: Any = torch.ops.bitlens
Pads = tuple[int, int, int, int]


def pair(value: Any) -> tuple[int, int]:
    """Torch's int or list of one or two as (rows, columns)."""
    numbers = [value] if isinstance(value, int) else [int(v) for v in value]
    return (numbers[0], numbers[-1])


def same_pads(kernel: tuple[int, int], dilation: tuple[int, int]) -> Pads:
    """Torch's padding="same": the odd position goes behind."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    before = [n // 2 for n in total]
    return (before[0], before[1], total[0] - before[0], total[1] - before[1])


def conv2d(
    t: Translation,
    x: View,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> View:
    """A convolution with real weights."""
    filters = t.constant(weight)
    kernel = (filters.shape[2], filters.shape[3])
    if isinstance(padding, str):
        pads = same_pads(kernel, pair(dilation)) if padding == "same" else (0, 0, 0, 0)
    else:
        rows, columns = pair(padding)
        pads = (rows, columns, rows, columns)
    window = Window(kernel=kernel, stride=pair(stride), dilation=pair(dilation), pads=pads)
    return _float_conv(t, x, filters, bias, window, groups)


def linear(t: Translation, x: View, weight: Tensor, bias: Tensor | None = None) -> View:
    """A product with a matrix (o, c) along the last dimension."""
    filters = t.constant(weight)
    moved = View(op=x.op, dims=(x.dims[0], x.dims[-1], *x.dims[1:-1]))
    made = _float_conv(t, moved, filters[:, :, None, None], bias, Window(), 1)
    return View(op=made.op, dims=(made.dims[0], *made.dims[2:], made.dims[1]))


def matmul(t: Translation, x: Any, matrix: Any) -> View:
    """x times a constant matrix (c, o)."""
    if not isinstance(x, View) or not isinstance(matrix, Tensor) or matrix.dim() != 2:
        t.refuse("multiplies two tensors that depend on the image", "attention cannot be packed")
    return linear(t, x, matrix.T)


def addmm(
    t: Translation, bias: Any, x: View, matrix: Any, *, beta: Any = 1, alpha: Any = 1
) -> View:
    """bias + x times a constant matrix (c, o)."""
    if (beta, alpha) != (1, 1) or not isinstance(matrix, Tensor):
        t.refuse("scales its terms, or multiplies by what is no constant", "use nn.Linear")
    return linear(t, x, matrix.T, bias)


def _float_conv(
    t: Translation,
    x: View,
    filters: Array,
    bias: Tensor | None,
    window: Window,
    groups: int,
) -> View:
    inner = _in_front_of_zero_padding(x.op)
    if inner is not x.op and x.dims == image_view(x.op).dims:
        window = _wider(window, cast(Pads, x.op.attributes["pads"]))
        x = image_view(inner)
    made = _place(t, x, filters, window, groups, kind="float_conv", open=True)
    if bias is None:
        t.record(made)
        return made
    added = t.constant(bias)
    t.record(made, bias=added)
    return t.step("add", made, a=added)


def _in_front_of_zero_padding(op: Op) -> Op:
    """What lies in front of a zero padding, which a convolution can do itself."""
    options = op.attributes
    if op.kind != "pad" or options.get("mode") != "constant" or options.get("value") != 0.0:
        return op
    return op.inputs[0] if options.get("channels") == (0, 0) else op


def _wider(window: Window, more: Pads) -> Window:
    top, left, bottom, right = (a + b for a, b in zip(window.pads, more, strict=True))
    return Window(
        kernel=window.kernel,
        stride=window.stride,
        dilation=window.dilation,
        pads=(top, left, bottom, right),
    )


def _place(
    t: Translation, x: View, filters: Array, window: Window, groups: int, **fields: Any
) -> View:
    """Lay filters (o, cg, kh, kw) over `x`, whose dimension 1 holds what they read.

    A 1x1 filter may read the channels of any arrangement of pixels, or a flattened image, which is one
    window as large as the image.
    """
    shape = x.op.shape
    rest = (*x.dims[:1], *x.dims[2:])
    pointwise = filters.shape[2:] == (1, 1) and window == Window() and groups == 1
    if pointwise and x.dims[1] == tag(shape, "c"):
        made: Shape = (*shape[:2], filters.shape[0])
        op = t.make(fields.pop("kind"), x.op, shape=made, window=window, weights=filters, **fields)
        return View(op=op, dims=(x.dims[0], tag(made, "c"), *x.dims[2:]))
    if pointwise and x.dims[1] == tag(shape, "chw") and not any(d for d in rest if d != ("n",)):
        whole = filters.reshape(-1, shape[2], shape[0], shape[1])
        made = (1, 1, filters.shape[0])
        around = Window(kernel=shape[:2])
        op = t.make(fields.pop("kind"), x.op, shape=made, window=around, weights=whole, **fields)
        return View(op=op, dims=(x.dims[0], tag(made, "c"), *x.dims[2:]))
    source = t.image(x)
    out = t.size()
    op = t.make(
        fields.pop("kind"),
        source,
        shape=(out[2], out[3], out[1]),
        window=window,
        groups=groups,
        weights=filters,
        **fields,
    )
    return image_view(op)


def binary_conv(
    t: Translation,
    x: View,
    weight: Tensor,
    stride: list[int],
    edges: list[int],
    dilation: list[int],
    groups: int,
    padded: float,
    unit: bool,
    layer: str,
) -> View:
    """A convolution with ±1 weights; of real numbers where the layer's input is no sign."""
    left, right, top, bottom = edges
    filters = weight.detach().cpu().numpy().astype(np.int8)
    window = Window(
        kernel=(filters.shape[2], filters.shape[3]),
        stride=pair(stride),
        dilation=pair(dilation),
        pads=(top, left, bottom, right),
    )
    if x.op.kind == "sign":
        pad = cast(Literal[0, 1, -1], round(2 * padded - 1 if unit else padded))
        return _place(
            t, x, filters, window, groups, kind="binary_conv", pad=pad, unit=unit, name=layer
        )
    if unit:
        c = x.op.channels
        x = t.step("multiply", x, a=np.full(c, 0.5, np.float32))
        x = t.step("add", x, a=np.full(c, 0.5, np.float32))
    if any(edges) and padded:
        source = t.image(x)
        window = Window(kernel=window.kernel, stride=window.stride, dilation=window.dilation)
        x = image_view(padded_op(t, source, (top, left, bottom, right), (0, 0), padded, "constant"))
    made = _place(t, x, filters, window, groups, kind="sign_conv", open=True, name=layer)
    t.record(made)
    return made


def padded_op(
    t: Translation, op: Op, pads: Pads, channels: tuple[int, int], value: float, mode: str
) -> Op:
    """A border around `op`."""
    h, w, c = op.shape
    top, left, bottom, right = pads
    return t.make(
        "pad",
        op,
        shape=(h + top + bottom, w + left + right, c + sum(channels)),
        attributes={"pads": pads, "channels": channels, "value": float(value), "mode": mode},
    )


WINDOWS: dict[Any, Callable[..., Any]] = {
    aten.conv2d.default: conv2d,
    aten.conv2d.padding: conv2d,
    aten.linear.default: linear,
    aten.matmul.default: matmul,
    aten.mm.default: matmul,
    aten.addmm.default: addmm,
    bitlens.binary_conv.default: binary_conv,
}
"""Torch operator -> rule."""
