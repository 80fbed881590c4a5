"""What a captured net computes, one small operation after the other, before it becomes nodes.

An `Op` makes one value of shape (h, w, c) per image. Torch shows the same numbers in many shapes, and a
`View` says how one of torch's tensors lies over an op's value, so that flatten, permute or squeeze cost
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from bitlens.engine.graph import Window

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
Axis = Literal["n", "h", "w", "c"]
Tag = tuple[Axis, ...]

OpKind = Literal[
    "input",
    "image",
    "binary_conv",
    "int8_conv",
    "float_conv",
    "sign_conv",
    "max_pool",
    "avg_pool",
    "concat",
    "pad",
    "slice",
    "resize",
    "flatten",
    "unary",
    "multiply",
    "add",
    "multiply_add",
    "add_value",
    "multiply_value",
    "prelu",
    "clamp",
    "sign",
    "quantize",
]

STEPS: frozenset[str] = frozenset(
    ("multiply", "add", "multiply_add", "add_value", "multiply_value", "prelu", "clamp")
)
"""Operations that change the running number of an element."""

SINKS: frozenset[str] = frozenset(("sign", "quantize"))
"""Operations that write the running number and leave it as it is."""


@dataclass(eq=False, kw_only=True)
class Op:
    """One operation; compared by identity.

    Attributes:
        kind: as in `graph.Node` and `graph.Step`; "input" is the float image, "image" its bytes.
        inputs: the values it reads, the running number first.
        shape: (h, w, c) of its value.
        name: module path of the layer or module it comes from.
        open: whether the order of its sums, or its last bit, is not that of torch.
        a, b: per-channel constants of a step; of a sign the threshold and whether the bit is turned.
        low, high: of a clamp.
        scale, zero: of a quantize two numbers, of an int8_conv arrays.
        weights: (o, cg, kh, kw): signs of a binary_conv or sign_conv, floats, or int8.
    """

    kind: OpKind
    inputs: tuple[Op, ...] = ()
    shape: Shape
    name: str
    open: bool = False
    a: Array | None = None
    b: Array | None = None
    low: float = -np.inf
    high: float = np.inf
    scale: Any = None
    zero: Any = None
    window: Window = field(default_factory=Window)
    groups: int = 1
    pad: Literal[0, 1, -1] = 0
    unit: bool = False
    weights: Array | None = None
    attributes: dict[str, object] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels of its value."""
        return self.shape[2]


@dataclass(frozen=True, kw_only=True)
class View:
    """A torch tensor over the value of `op`: for each of its dimensions, the axes that run along it.

    Axes of size one are left out; `n` is the batch. (n, c, h, w) is (("n",), ("c",), ("h",), ("w",)).
    """

    op: Op
    dims: tuple[Tag, ...]

    def sizes(self, batch: int) -> tuple[int, ...]:
        """Torch's shape."""
        return tuple(prod(size_of(self.op.shape, axis, batch) for axis in tag) for tag in self.dims)


def size_of(shape: Shape, axis: Axis, batch: int) -> int:
    """Length of one axis of a value of `shape`."""
    return {"n": batch, "h": shape[0], "w": shape[1], "c": shape[2]}[axis]


def tag(shape: Shape, axes: str) -> Tag:
    """The axes of `axes` whose size is not one."""
    return tuple(cast(Axis, a) for a in axes if a == "n" or size_of(shape, cast(Axis, a), 2) > 1)


def image_view(op: Op) -> View:
    """The value as (n, c, h, w)."""
    return View(op=op, dims=tuple(tag(op.shape, axis) for axis in "nchw"))


def row_view(op: Op) -> View:
    """A value without extent as (n, c)."""
    return View(op=op, dims=(tag(op.shape, "n"), tag(op.shape, "c")))


def same_view(view: View, op: Op) -> View:
    """`op`, of the shape of the viewed value, seen in the same way."""
    return View(op=op, dims=view.dims)


def to_rows(tensor: Tensor, view: View) -> Array:
    """Torch's tensor as the value it shows: (n, h, w, c)."""
    axes = [axis for tag in view.dims for axis in tag]
    batch = tensor.numel() // prod(view.op.shape)
    flat = tensor.detach().reshape([size_of(view.op.shape, axis, batch) for axis in axes])
    order = [axes.index(axis) for axis in ("n", "h", "w", "c") if axis in axes]
    return np.ascontiguousarray(flat.permute(order).reshape(batch, *view.op.shape).numpy())


def from_rows(rows: Array, view: View) -> Tensor:
    """A value (n, h, w, c) as torch's tensor."""
    batch = len(rows)
    present = [axis for axis in "nhwc" if any(axis in tag for tag in view.dims)]
    sizes = [size_of(view.op.shape, cast(Axis, axis), batch) for axis in present]
    order = [present.index(axis) for tag in view.dims for axis in tag]
    flat = torch.from_numpy(np.ascontiguousarray(rows)).reshape(sizes).permute(order)
    return flat.reshape(view.sizes(batch)).contiguous()


@dataclass(frozen=True, kw_only=True)
class Substitute:
    """A captured node that is open or quantized, and the op that stands for it.

    The node's value is the op's, plus `bias` (o,) where the node adds one.
    """

    view: View
    bias: Array | None = None


@dataclass(eq=False)
class Flow:
    """A translated net.

    Attributes:
        input: the float image.
        answer: what the net returns.
        views: what every translated node of the captured graph shows.
        substitutes: captured nodes whose value cannot be torch's to the last bit.
    """

    input: Op
    answer: View
    views: dict[fx.Node, View]
    substitutes: dict[fx.Node, Substitute]


def ancestors_first(roots: list[Op]) -> list[Op]:
    """All operations that `roots` need, each after its inputs."""
    order: list[Op] = []
    seen: set[Op] = set()
    stack: list[tuple[Op, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        op, done = stack.pop()
        if done:
            order.append(op)
        elif op not in seen:
            seen.add(op)
            stack.append((op, True))
            stack.extend((needed, False) for needed in reversed(op.inputs) if needed not in seen)
    return order


def users_of(order: list[Op]) -> dict[Op, list[Op]]:
    """Who reads each operation of `order`."""
    users: dict[Op, list[Op]] = {op: [] for op in order}
    for op in order:
        for needed in dict.fromkeys(op.inputs):
            users[needed].append(op)
    return users


def rewrite(roots: list[Op], change: Callable[[Op], Op]) -> dict[Op, Op]:
    """Apply `change` to every operation, inputs first; returns what each became.

    `change` sees an operation whose inputs are already the new ones.
    """
    became: dict[Op, Op] = {}
    for op in ancestors_first(roots):
        op.inputs = tuple(became[needed] for needed in op.inputs)
        became[op] = change(op)
    return became
