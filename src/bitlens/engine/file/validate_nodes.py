"""What each operation asks of its inputs, its window and its attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.file.limits import EXACT, SIDE_LIMIT, VALUE_LIMIT, are_whole, is_whole
from bitlens.engine.file.validate_shapes import Shape, made_shape
from bitlens.engine.graph import Node, Value, Window

CONVOLUTIONS = ("binary_conv", "int8_conv", "float_conv", "sign_conv")
POOLS = ("max_pool", "avg_pool")

_TAKES = {"binary_conv": "codes", "int8_conv": "u8"}
_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "avg_pool": ("count", "padding"),
    "pad": ("pads", "channels", "value", "mode"),
    "slice": ("rows", "columns", "channels"),
    "resize": ("mode", "align_corners", "scale"),
    "unary": ("function", "approximate", "alpha"),
}


def check_node(node: Node, inputs: Sequence[Value]) -> int:
    """Check a node's inputs, geometry and attributes.

    Args:
        node: its shape is known to be three positive integers.
        inputs: the values it reads first, `node.inputs`.

    Returns:
        Multiply-accumulates of one image; for a pooling, positions visited.

    Raises:
        BitsFileError: naming the field.
    """
    kind = _TAKES.get(node.op, "float")
    if not inputs or (len(inputs) > 1 and node.op != "concat"):
        raise BitsFileError(f"inputs: {node.op} takes one, not {len(inputs)}")
    for value in inputs:
        if value.kind != kind:
            raise BitsFileError(
                f"inputs: {shown(value.name)} is {value.kind}; {node.op} takes {kind}"
            )
    for name, given in node.attributes.items():
        if name not in _ATTRIBUTES.get(node.op, ()):
            raise BitsFileError(f"attributes: {node.op} takes no {shown(name)}")
        # `scale` alone has a meaning for null: the sizes decide.
        if given is None and (node.op, name) != ("resize", "scale"):
            raise BitsFileError(f"attributes, {name}: it is null; leave it out")
    _unused(node)
    if node.op in CONVOLUTIONS or node.op in POOLS:
        _window(node, inputs[0].shape)
        work = _pool if node.op in POOLS else _convolution
        return work(node, inputs[0].shape)
    expected = made_shape(node, [value.shape for value in inputs])
    if expected != node.shape:
        raise BitsFileError(f"shape: {node.shape}; its input makes it {expected}")
    return 0


def _unused(node: Node) -> None:
    """A field that an operation does not read keeps its default."""
    convolution = node.op in CONVOLUTIONS
    if not convolution and node.op not in POOLS and node.window != Window():
        raise BitsFileError(f"window: {node.op} has none")
    if not convolution and node.groups != 1:
        raise BitsFileError(f"groups: {node.op} has none")
    if node.op != "binary_conv" and (node.pad != 0 or node.unit):
        raise BitsFileError(f"pad and unit: {node.op} has none")
    if (node.weights is not None) != convolution:
        raise BitsFileError(f"weights: {node.op} {'needs them' if convolution else 'has none'}")
    for field in ("scale", "zero"):
        if (getattr(node, field) is not None) != (node.op == "int8_conv"):
            word = "needs one" if node.op == "int8_conv" else "has none"
            raise BitsFileError(f"{field}: {node.op} {word}")


def _window(node: Node, shape: Shape) -> None:
    window = node.window
    rules = (("kernel", 2, 1), ("stride", 2, 1), ("dilation", 2, 1), ("pads", 4, 0))
    for field, count, least in rules:
        sides = getattr(window, field)
        if not are_whole(sides, count, least):
            raise BitsFileError(
                f"window, {field}: {shown(sides)} is not {count} integers from {least} to {SIDE_LIMIT}"
            )
    top, left, bottom, right = window.pads
    padded = shape[0] + top + bottom, shape[1] + left + right
    if math.prod(padded) * shape[2] > VALUE_LIMIT:
        raise BitsFileError(f"window, pads: an image of {padded} is too large")
    for axis, word in enumerate(("rows", "columns")):
        reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1
        expected = (padded[axis] - reach) // window.stride[axis] + 1
        if expected != node.shape[axis]:
            raise BitsFileError(f"shape: {node.shape}; window and input make {expected} {word}")


def _convolution(node: Node, shape: Shape) -> int:
    groups = node.groups
    if not is_whole(groups, 1) or shape[2] % groups or node.shape[2] % groups:
        raise BitsFileError(
            f"groups: {shown(groups)} does not divide {shape[2]} input and {node.shape[2]} output channels"
        )
    terms = math.prod(node.window.kernel) * (shape[2] // groups)
    if node.op == "binary_conv":
        if not is_whole(node.pad, -1, 1) or not isinstance(node.unit, bool):
            raise BitsFileError(f"pad and unit: {shown((node.pad, node.unit))} mean nothing")
        if terms > EXACT:
            raise BitsFileError(f"window: sums of {terms} signs are not exact in float32")
    return terms * math.prod(node.shape)


def _pool(node: Node, shape: Shape) -> int:
    if node.shape[2] != shape[2]:
        raise BitsFileError(f"shape: {node.shape}; its input has {shape[2]} channels")
    for axis in (0, 1):
        if not _always_inside(node.window, axis, shape[axis], node.shape[axis]):
            raise BitsFileError("window: one lies outside the image altogether")
    if node.op == "avg_pool":
        _count(node)
    return math.prod(node.window.kernel) * math.prod(node.shape)


def _always_inside(window: Window, axis: int, size: int, out: int) -> bool:
    """Whether every window has a position inside the image along one side."""
    dilation = window.dilation[axis]
    start = np.arange(out) * window.stride[axis] - window.pads[axis]
    first = np.where(start < 0, start % dilation, start)
    last = np.minimum(start + dilation * (window.kernel[axis] - 1), size - 1)
    return bool((first <= last).all())


def _count(node: Node) -> None:
    count, padding = node.attributes.get("count"), node.attributes.get("padding")
    if count not in ("inside", "padded") and not is_whole(count, 1, EXACT):
        raise BitsFileError(
            f"attributes, count: {shown(count)} is not inside, padded or an integer"
        )
    if (padding is not None) != (count == "padded"):
        raise BitsFileError("attributes, padding: it goes with the count `padded`")
    if padding is not None and not are_whole(padding, 2, 0):
        raise BitsFileError(f"attributes, padding: {shown(padding)} is not (rows, columns)")
