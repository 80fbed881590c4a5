"""What shape a node without a window makes of its inputs, and which attributes it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.file.limits import SIDE_LIMIT, are_whole, is_number
from bitlens.engine.graph import Node

FUNCTIONS = (
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "hardswish",
    "hardsigmoid",
    "elu",
    "exp",
    "abs",
    "sqrt",
)
"""Functions of a unary node."""

Shape = tuple[int, int, int]


def made_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """The shape that a node without a window makes of inputs of these shapes.

    Raises:
        BitsFileError: an attribute is missing or means nothing.
    """
    if node.op == "concat":
        return _joined(shapes)
    return _RULES[node.op](node, shapes[0])


def _joined(shapes: Sequence[Shape]) -> Shape:
    sides = {shape[:2] for shape in shapes}
    if len(sides) > 1:
        raise BitsFileError(f"inputs: heights and widths differ: {shown(sorted(sides))}")
    return (*sides.pop(), sum(shape[2] for shape in shapes))


def _same(node: Node, shape: Shape) -> Shape:
    return shape


def _flat(node: Node, shape: Shape) -> Shape:
    return 1, 1, math.prod(shape)


def _padded(node: Node, shape: Shape) -> Shape:
    given: Mapping[str, Any] = node.attributes
    pads, channels = given.get("pads", (0,) * 4), given.get("channels", (0, 0))
    if not are_whole(pads, 4, 0) or not are_whole(channels, 2, 0):
        raise BitsFileError(
            f"attributes: pads {shown(pads)} or channels {shown(channels)} are no sizes"
        )
    top, left, bottom, right = pads
    mode, value = given.get("mode", "constant"), given.get("value", 0.0)
    # A reflection has size - 1 positions to show, a circle as many as the image.
    beyond = {"constant": SIDE_LIMIT, "replicate": SIDE_LIMIT, "reflect": -1, "circular": 0}
    if not isinstance(mode, str) or mode not in beyond:
        raise BitsFileError(f"attributes, mode: {shown(mode)} is none of {', '.join(beyond)}")
    if max(top, bottom) > shape[0] + beyond[mode] or max(left, right) > shape[1] + beyond[mode]:
        raise BitsFileError(f"attributes, pads: {shown(pads)} is too wide for mode {mode}")
    if not is_number(value) and value not in (math.inf, -math.inf):
        raise BitsFileError(f"attributes, value: {shown(value)} is no number")
    return shape[0] + top + bottom, shape[1] + left + right, shape[2] + sum(channels)


def _sliced(node: Node, shape: Shape) -> Shape:
    sizes = []
    for name, size in zip(("rows", "columns", "channels"), shape, strict=True):
        part: Any = node.attributes.get(name, (0, size, 1))
        if not are_whole(part, 3, 0, 1 << 28) or not part[0] < part[1] <= size or part[2] < 1:
            raise BitsFileError(
                f"attributes, {name}: {shown(part)} is not start, stop and step within {size}"
            )
        sizes.append(len(range(*part)))
    return sizes[0], sizes[1], sizes[2]


def _resized(node: Node, shape: Shape) -> Shape:
    mode, corners = node.attributes.get("mode"), node.attributes.get("align_corners", False)
    if mode not in ("nearest", "bilinear"):
        raise BitsFileError(f"attributes, mode: {shown(mode)} is neither nearest nor bilinear")
    if not isinstance(corners, bool) or (corners and mode == "nearest"):
        raise BitsFileError(f"attributes, align_corners: {shown(corners)} does not fit {mode}")
    factors: Any = node.attributes.get("scale")
    if factors is not None and not _makes(factors, shape, node.shape):
        raise BitsFileError(
            f"attributes, scale: {shown(factors)} does not make {node.shape} of {shape}"
        )
    return node.shape[0], node.shape[1], shape[2]


def _makes(factors: Any, shape: Shape, made: Shape) -> bool:
    """Whether factors along rows and columns lead to a shape, give or take torch's rounding."""
    return (
        isinstance(factors, tuple | list)
        and len(factors) == 2
        and all(is_number(factor) and 0 < factor <= SIDE_LIMIT for factor in factors)
        and all(abs(shape[axis] * factors[axis] - made[axis]) <= 1 for axis in (0, 1))
    )


def _mapped(node: Node, shape: Shape) -> Shape:
    function = node.attributes.get("function")
    if function not in FUNCTIONS:
        raise BitsFileError(
            f"attributes, function: {shown(function)} is none of {', '.join(FUNCTIONS)}"
        )
    approximate, alpha = (node.attributes.get(name) for name in ("approximate", "alpha"))
    if approximate is not None and (function != "gelu" or approximate not in ("none", "tanh")):
        raise BitsFileError(
            f"attributes, approximate: {shown(approximate)} does not fit {function}"
        )
    if alpha is not None and (function != "elu" or not is_number(alpha)):
        raise BitsFileError(f"attributes, alpha: {shown(alpha)} does not fit {function}")
    return shape


_RULES: dict[str, Callable[[Node, Shape], Shape]] = {
    "elementwise": _same,
    "pad": _padded,
    "slice": _sliced,
    "resize": _resized,
    "flatten": _flat,
    "unary": _mapped,
}
