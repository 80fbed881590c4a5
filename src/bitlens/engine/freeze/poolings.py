"""How poolings, and means, sums and maxima over rows and columns, become windows over an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from bitlens.engine.freeze.flow import Op, Shape, View, image_view
from bitlens.engine.freeze.translation import Translation
from bitlens.engine.freeze.windows import Pads, pair
from bitlens.engine.graph import Window

aten: Any = torch.ops.aten


def pooling_pads(
    size: Sequence[int], out: Sequence[int], window: Window, padding: tuple[int, int], ceil: bool
) -> Pads:
    """Pads of a pooling with which each of its `out` windows lies inside."""
    behind = list(padding)
    if ceil:
        for axis in (0, 1):
            reach = (out[axis] - 1) * window.stride[axis]
            reach += window.dilation[axis] * (window.kernel[axis] - 1) + 1
            behind[axis] = max(reach - size[axis] - padding[axis], 0)
    return (padding[0], padding[1], behind[0], behind[1])


def max_pool2d(
    t: Translation,
    x: View,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> View:
    """Max pooling."""
    op = t.image(x)
    _, c, *out = t.size()
    window = Window(kernel=pair(kernel), stride=pair(stride or kernel), dilation=pair(dilation))
    pads = pooling_pads(op.shape[:2], out, window, pair(padding), ceil_mode)
    window = Window(kernel=window.kernel, stride=window.stride, dilation=window.dilation, pads=pads)
    return image_view(t.make("max_pool", op, shape=(out[0], out[1], c), window=window))


def avg_pool2d(
    t: Translation,
    x: View,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> View:
    """Average pooling."""
    op = t.image(x)
    _, c, *out = t.size()
    window = Window(kernel=pair(kernel), stride=pair(stride or kernel))
    pads = pooling_pads(op.shape[:2], out, window, pair(padding), ceil_mode)
    window = Window(kernel=window.kernel, stride=window.stride, pads=pads)
    attributes: dict[str, object] = {"count": "inside"}
    if divisor_override is not None:
        attributes = {"count": divisor_override}
    elif count_include_pad and any(pair(padding)):
        attributes = {"count": "padded", "padding": pair(padding)}
    shape = (out[0], out[1], c)
    return image_view(t.make("avg_pool", op, shape=shape, window=window, attributes=attributes))


def _equal_windows(t: Translation, x: View) -> tuple[Op, Window, Shape]:
    op = t.image(x)
    _, c, *out = t.size(0) if isinstance(t.node.meta["val"], tuple | list) else t.size()
    sides = op.shape[:2]
    if any(size % n for size, n in zip(sides, out, strict=True)):
        t.refuse(
            f"pools sides of {sides} to {tuple(out)}, which do not divide them",
            "choose sizes that divide, or 1",
        )
    kernel = (sides[0] // out[0], sides[1] // out[1])
    return op, Window(kernel=kernel, stride=kernel), (out[0], out[1], c)


def adaptive_avg_pool2d(t: Translation, x: View, size: Any) -> View:
    """Average pooling to a given size; open, because torch divides in its own order."""
    op, window, shape = _equal_windows(t, x)
    made = _averaged(t, op, window, shape)
    view = image_view(made)
    t.record(view)
    return view


def adaptive_max_pool2d(t: Translation, x: View, size: Any) -> tuple[View, None]:
    """Max pooling to a given size."""
    op, window, shape = _equal_windows(t, x)
    return image_view(t.make("max_pool", op, shape=shape, window=window)), None


def _averaged(t: Translation, op: Op, window: Window, shape: Shape, *, total: bool = False) -> Op:
    count = 1 if total else window.kernel[0] * window.kernel[1]
    return t.make(
        "avg_pool", op, shape=shape, window=window, attributes={"count": count}, open=True
    )


def _reduced(
    t: Translation, x: View, dims: Any, keepdim: bool
) -> tuple[Window, Shape, tuple[Any, ...]]:
    """Window, shape and view of a reduction over rows, columns or both."""
    rank = len(x.dims)
    places = {d % rank for d in ([dims] if isinstance(dims, int) else dims)}
    gone = [axis for place in places for axis in x.dims[place]]
    kept = [axis for place in range(rank) if place not in places for axis in x.dims[place]]
    if any(axis in gone for axis in ("n", "c")) or not places:
        t.refuse("reduces over images or channels", "only rows and columns can be reduced")
    h, w, c = x.op.shape
    if any(axis in kept for axis in gone):
        t.refuse("reduces a part of an axis", "reduce whole rows and columns")
    kernel = (h if "h" in gone else 1, w if "w" in gone else 1)
    shape = (h // kernel[0], w // kernel[1], c)
    dims_left = [
        () if place in places else x.dims[place]
        for place in range(rank)
        if keepdim or place not in places
    ]
    return Window(kernel=kernel), shape, tuple(dims_left)


def mean(t: Translation, x: View, dims: Any, keepdim: bool = False, *, dtype: Any = None) -> View:
    """The mean over rows and columns; open in its order of summation."""
    return _sum_or_mean(t, x, dims, keepdim, total=False)


def total(t: Translation, x: View, dims: Any, keepdim: bool = False, *, dtype: Any = None) -> View:
    """The sum over rows and columns; open in its order of summation."""
    return _sum_or_mean(t, x, dims, keepdim, total=True)


def _sum_or_mean(t: Translation, x: View, dims: Any, keepdim: bool, *, total: bool) -> View:
    window, shape, left = _reduced(t, x, dims, keepdim)
    made = View(op=_averaged(t, x.op, window, shape, total=total), dims=left)
    t.record(made)
    return made


def largest(t: Translation, x: View, dims: Any = (), keepdim: bool = False) -> View:
    """The largest over rows and columns."""
    window, shape, left = _reduced(t, x, dims, keepdim)
    return View(op=t.make("max_pool", x.op, shape=shape, window=window), dims=left)


def largest_and_where(
    t: Translation, x: View, dim: int, keepdim: bool = False
) -> tuple[View, None]:
    """The largest over rows or columns; its place cannot be used."""
    return largest(t, x, [dim], keepdim), None


POOLINGS: dict[Any, Callable[..., Any]] = {
    aten.max_pool2d.default: max_pool2d,
    aten.avg_pool2d.default: avg_pool2d,
    aten.adaptive_avg_pool2d.default: adaptive_avg_pool2d,
    aten.adaptive_max_pool2d.default: adaptive_max_pool2d,
    aten.mean.dim: mean,
    aten.sum.dim_IntList: total,
    aten.amax.default: largest,
    aten.max.dim: largest_and_where,
}
"""Torch operator -> rule."""
