"""What the nodes that move or map whole values mean, in slow and obvious numpy on (n, h, w, c)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bitlens.engine.graph import Node
from bitlens.engine.reference.operations import Array, Floats


def pad(x: Floats, node: Node) -> Floats:
    """A border of `value`, or of the image itself by `mode`; further channels hold `value`."""
    top, left, bottom, right = _integers(node.attributes.get("pads", (0, 0, 0, 0)))
    before, after = _integers(node.attributes.get("channels", (0, 0)))
    value: Any = node.attributes.get("value", 0.0)
    sides = ((0, 0), (top, bottom), (left, right), (0, 0))
    mode = node.attributes.get("mode", "constant")
    if mode == "constant":
        x = np.pad(x, sides, constant_values=np.float32(value))
    elif mode == "reflect":
        x = np.pad(x, sides, mode="reflect")
    else:
        x = np.pad(x, sides, mode="edge" if mode == "replicate" else "wrap")
    return np.pad(x, ((0, 0), (0, 0), (0, 0), (before, after)), constant_values=np.float32(value))


def take(x: Floats, node: Node) -> Floats:
    """The `slice` node: rows, columns and channels start:stop:step, all of them where not named."""
    named = [node.attributes.get(name) for name in ("rows", "columns", "channels")]
    rows, columns, channels = (
        slice(None) if part is None else slice(*_integers(part)) for part in named
    )
    return x[:, rows, columns, channels].copy()


def _integers(numbers: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers)


def flatten(x: Floats) -> Floats:
    """(n, h, w, c) -> (n, 1, 1, c h w) in torch's order."""
    return x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1).copy()


def resize(x: Floats, node: Node) -> Floats:
    """torch's `interpolate`: source positions in float32 as torch takes them, sums in float64."""
    factors: Any = node.attributes.get("scale") or (None, None)
    nearest = node.attributes["mode"] == "nearest"
    corners = bool(node.attributes.get("align_corners", False))
    y = x.astype(np.float64)
    for axis in (1, 2):
        size, out, factor = x.shape[axis], node.shape[axis - 1], factors[axis - 1]
        # A side that keeps its size is copied, whatever the factor says.
        if size == out:
            continue
        if nearest:
            # Twice the size is exactly that, whatever the factor says.
            step = np.float32(0.5) if out == 2 * size else _step(size, out, factor)
            sources = [min(int(np.floor(np.float32(i) * step)), size - 1) for i in range(out)]
            y = np.stack([y.take(source, axis) for source in sources], axis)
            continue
        places = [_place(i, size, out, factor, corners) for i in range(out)]
        y = np.stack([_blend(y, axis, place) for place in places], axis)
    return y.astype(np.float32)


def _step(size: int, out: int, factor: float | None) -> np.float32:
    """Source positions from one output to the next: by the factor if there is one, else by the sizes."""
    return np.float32(size) / np.float32(out) if factor is None else np.float32(1 / factor)


def _place(i: int, size: int, out: int, factor: float | None, corners: bool) -> np.float32:
    """Where output i lies in the source: corner on corner, or centres of equal shares of the side."""
    half = np.float32(0.5)
    if not corners:
        return max((np.float32(i) + half) * _step(size, out, factor) - half, np.float32(0))
    return np.float32(i) * (np.float32(size - 1) / np.float32(max(out - 1, 1)))


def _blend(y: Array, axis: int, place: np.float32) -> Array:
    """The number at a place between two, which end at the image's last."""
    last = y.shape[axis] - 1
    first = min(int(place), last)
    share = float(min(place - np.float32(first), np.float32(1)))
    return y.take(first, axis) * (1 - share) + y.take(min(first + 1, last), axis) * share


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _gelu(x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


UNARY: dict[str, Callable[[Array], Array]] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "silu": lambda x: x * _sigmoid(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "exp": np.exp,
    "abs": np.abs,
    "sqrt": np.sqrt,
}
"""Functions of a unary node without parameters, on float64."""


def unary(x: Floats, node: Node) -> Floats:
    """The function in float64, rounded; `gelu` takes `approximate`, `elu` takes `alpha`."""
    wide = x.astype(np.float64)
    options: Any = node.attributes
    function = options["function"]
    with np.errstate(over="ignore", invalid="ignore"):
        if function == "gelu":
            answer = _gelu(wide, options.get("approximate", "none"))
        elif function == "elu":
            answer = np.where(wide > 0, wide, options.get("alpha", 1.0) * np.expm1(wide))
        else:
            answer = UNARY[function](wide)
        return answer.astype(np.float32)
