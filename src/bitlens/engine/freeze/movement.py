"""How torch's ways to rearrange, cut, join, pad and resize tensors become views and nodes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch

from bitlens.engine.freeze.capture import BATCH
from bitlens.engine.freeze.flow import (
    Axis,
    Shape,
    Tag,
    View,
    image_view,
    row_view,
    same_view,
    size_of,
    tag,
)
from bitlens.engine.freeze.refusals import FLOAT32
from bitlens.engine.freeze.translation import Translation
from bitlens.engine.freeze.windows import padded_op

aten: Any = torch.ops.aten
bitlens: Any = torch.ops.bitlens
_PARTS = {"h": "rows", "w": "columns", "c": "channels"}


def dropout(t: Translation, x: View, rate: float, train: bool) -> View:
    """Dropout in evaluation; refused where it drops all the same."""
    if train and rate:
        t.refuse("drops at random in evaluation too", "pass training=self.training to it")
    return x


def unchanged(t: Translation, x: View, *_: Any, **__: Any) -> View:
    """What evaluation leaves alone: dropout, copies, conversions to the same type."""
    value = t.node.meta["val"]
    if value.dtype != torch.float32:
        t.refuse(f"makes {value.dtype}", FLOAT32)
    return x


def sign(t: Translation, x: View) -> View:
    """-1 or +1."""
    op = t.make("sign", x.op, shape=x.op.shape)
    return same_view(x, op)


def reshape(t: Translation, x: View, *_: Any, **__: Any) -> View:
    """Any change of shape that keeps the order of elements and every axis whole."""
    axes = [axis for tag in x.dims for axis in tag]
    dims: list[Tag] = []
    for size in t.size():
        taken: list[Axis] = []
        length = 1
        while length < size and axes:
            taken.append(axes.pop(0))
            length *= size_of(x.op.shape, taken[-1], BATCH)
        if length != size:
            t.refuse(
                f"cuts an axis of {x.sizes(BATCH)} into {t.size()}",
                "rows, columns and channels must stay whole; use slices and torch.cat",
            )
        dims.append(tuple(taken))
    return View(op=x.op, dims=tuple(dims))


def permute(t: Translation, x: View, order: Sequence[int]) -> View:
    """Dimensions in another order."""
    return View(op=x.op, dims=tuple(x.dims[place] for place in order))


def transpose(t: Translation, x: View, first: int, second: int) -> View:
    """Two dimensions exchanged."""
    order = list(range(len(x.dims)))
    order[first], order[second] = order[second], order[first]
    return permute(t, x, order)


def expand(t: Translation, x: View, *_: Any, **__: Any) -> View:
    """An expansion that changes nothing."""
    if t.size() != x.sizes(BATCH):
        t.refuse("repeats a tensor", "broadcast in the arithmetic that uses it instead")
    return x


def _cut(t: Translation, x: View, dim: int, start: int, stop: int, step: int = 1) -> View:
    place = dim % len(x.dims)
    length = x.sizes(BATCH)[place]
    if (start, stop, step) == (0, length, 1):
        return x
    if len(x.dims[place]) != 1 or x.dims[place] == ("n",):
        t.refuse(f"cuts dimension {dim} of {x.sizes(BATCH)}", "cut rows, columns or channels only")
    (axis,) = x.dims[place]
    sizes = dict(zip("hwc", x.op.shape, strict=True))
    sizes[axis] = len(range(start, stop, step))
    shape: Shape = (sizes["h"], sizes["w"], sizes["c"])
    op = t.make("slice", x.op, shape=shape, attributes={_PARTS[axis]: (start, stop, step)})
    kept = tag(shape, axis)
    return View(op=op, dims=(*x.dims[:place], kept, *x.dims[place + 1 :]))


def cut(
    t: Translation, x: View, dim: int = 0, start: Any = None, stop: Any = None, step: int = 1
) -> View:
    """x[..., start:stop:step, ...]."""
    length = x.sizes(BATCH)[dim % len(x.dims)]
    start, stop, step = slice(start, stop, step).indices(length)
    return _cut(t, x, dim, start, max(stop, start), step)


def select(t: Translation, x: View, dim: int, index: int) -> View:
    """x[..., index, ...], without that dimension."""
    place = dim % len(x.dims)
    length = x.sizes(BATCH)[place]
    one = _cut(t, x, dim, index % length, index % length + 1)
    return View(op=one.op, dims=(*one.dims[:place], *one.dims[place + 1 :]))


def split(t: Translation, x: View, size: Any, dim: int = 0) -> tuple[View, ...]:
    """Consecutive parts of one size, or of given sizes."""
    length = x.sizes(BATCH)[dim % len(x.dims)]
    if isinstance(size, int):
        size = [min(size, length - start) for start in range(0, length, size)]
    ends = [sum(size[: i + 1]) for i in range(len(size))]
    return tuple(_cut(t, x, dim, end - n, end) for n, end in zip(size, ends, strict=True))


def concat(t: Translation, parts: Sequence[Any], dim: int = 0) -> View:
    """Channels behind each other."""
    if not all(isinstance(part, View) for part in parts):
        t.refuse("joins constants to a tensor", "use torch.nn.functional.pad")
    views = [t.floats(part) for part in parts]
    if len(views) == 1:
        return views[0]
    first = views[0]
    on_channels = dim % len(first.dims) == 1
    regular = all(v.dims in (image_view(v.op).dims, row_view(v.op).dims) for v in views)
    if not (on_channels and regular and len({len(v.dims) for v in views}) == 1):
        t.refuse(f"joins along dimension {dim}", "only channels (dimension 1) can be joined")
    shape = (*first.op.shape[:2], sum(v.op.channels for v in views))
    op = t.make("concat", *(v.op for v in views), shape=shape)
    return image_view(op) if len(first.dims) == 4 else row_view(op)


def pad(
    t: Translation, x: View, widths: Sequence[int], mode: str = "constant", value: Any = None
) -> View:
    """A border; around signs the same border in front of the sign, which is the same."""
    if not any(widths):
        return x
    rows = len(x.dims) == 2 and x.dims == row_view(x.op).dims
    widths = [0, 0, 0, 0, *widths] if rows else [*widths, *[0] * (8 - len(widths))]
    op = x.op if rows else t.image(x)
    if any(n < 0 for n in widths) or any(widths[6:]):
        t.refuse("crops, or pads the batch", "use slices")
    left, right, top, bottom, before, after = widths[:6]
    pads, channels = (top, left, bottom, right), (before, after)
    if op.kind == "sign" and mode != "constant":
        inner = padded_op(t, op.inputs[0], pads, channels, 0.0, mode)
        return image_view(t.make("sign", inner, shape=inner.shape))
    op = t.floats(View(op=op, dims=x.dims)).op
    made = padded_op(t, op, pads, channels, float(value or 0.0), mode)
    return row_view(made) if rows else image_view(made)


def _pad_by(mode: str) -> Callable[..., View]:
    def apply(t: Translation, x: View, widths: Sequence[int]) -> View:
        return pad(t, x, widths, mode)

    apply.__doc__ = f"A border by {mode}."
    return apply


def constant_pad(t: Translation, x: View, widths: Sequence[int], value: Any = 0) -> View:
    """A border of one number."""
    return pad(t, x, widths, "constant", value)


def nearest(t: Translation, x: View, size: Any, factors: Any = None, *_: Any) -> View:
    """Every pixel repeated."""
    op, shape = _resized(t, x)
    attributes: dict[str, object] = {"mode": "nearest", "scale": _scale(factors)}
    return image_view(t.make("resize", op, shape=shape, attributes=attributes))


def bilinear(
    t: Translation, x: View, size: Any, align_corners: bool, factors: Any = None, *_: Any
) -> View:
    """Weighted means of four pixels; open in their order."""
    op, shape = _resized(t, x)
    attributes: dict[str, object] = {
        "mode": "bilinear",
        "align_corners": align_corners,
        "scale": _scale(factors),
    }
    made = image_view(t.make("resize", op, shape=shape, attributes=attributes, open=True))
    t.record(made)
    return made


def _resized(t: Translation, x: View) -> tuple[Any, Shape]:
    op = t.image(x)
    _, c, h, w = t.size()
    return op, (h, w, c)


def _scale(factors: Any) -> tuple[float, float] | None:
    return None if not factors else (float(factors[0]), float(factors[-1]))


def item(t: Translation, values: Any, index: int) -> Any:
    """One of several values of an operator."""
    if values[index] is None:
        t.refuse("is asked for more than its values", "use the values alone, not where they lie")
    return values[index]


MOVEMENT: dict[Any, Callable[..., Any]] = {
    operator.getitem: item,
    bitlens.sign.default: sign,
    **dict.fromkeys(
        (
            aten.clone.default,
            aten.detach.default,
            aten.alias.default,
            aten.contiguous.default,
            aten.lift_fresh_copy.default,
            aten._to_copy.default,
            aten.to.dtype,
        ),
        unchanged,
    ),
    **dict.fromkeys(
        (
            aten.view.default,
            aten.reshape.default,
            aten._unsafe_view.default,
            aten.flatten.using_ints,
            aten.unflatten.int,
            aten.unsqueeze.default,
            aten.squeeze.default,
            aten.squeeze.dim,
            aten.squeeze.dims,
        ),
        reshape,
    ),
    aten.dropout.default: dropout,
    aten.feature_dropout.default: dropout,
    aten.native_dropout.default: dropout,
    aten.permute.default: permute,
    aten.transpose.int: transpose,
    aten.expand.default: expand,
    aten.slice.Tensor: cut,
    aten.select.int: select,
    aten.split.Tensor: split,
    aten.split_with_sizes.default: split,
    aten.cat.default: concat,
    aten.pad.default: pad,
    aten.constant_pad_nd.default: constant_pad,
    aten.reflection_pad2d.default: _pad_by("reflect"),
    aten.replication_pad2d.default: _pad_by("replicate"),
    aten.upsample_nearest2d.vec: nearest,
    aten.upsample_bilinear2d.vec: bilinear,
}
"""Torch operator -> rule."""

ON_SIGNS: frozenset[Any] = frozenset(
    key
    for key, rule in MOVEMENT.items()
    if rule in (item, unchanged, dropout, reshape, permute, transpose, expand)
) | {bitlens.binary_conv.default, aten.pad.default}
"""Operators that take signs as they are; all others take the numbers -1 and +1."""
