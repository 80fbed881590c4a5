"""What the convolutions, pools and fused steps of a packed graph mean, in slow and obvious numpy.

Arrays are (n, h, w, c). The arithmetic on t is float32 with one rounding an operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import Node, Window

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def fused_multiply_add(x: Array, a: Array, b: Array) -> Floats:
    """x * a + b of float32 arrays, rounded once.

    The product is exact in float64. The sum is taken rounded to odd: where it is inexact and its last bit
    is even, the neighbour on the side of the error is taken, so that the rounding to float32, 29 bits
    shorter, never meets a tie that is none (Boldo and Melquiond, 2008).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.asarray(x, np.float64) * np.asarray(a, np.float64)
        product, other = np.broadcast_arrays(product, np.asarray(b, np.float64))
        total = np.asarray(product + other)
        back = total - product
        error = (product - (total - back)) + (other - back)
        even = (total.view(np.int64) & 1) == 0
        inexact = np.isfinite(error) & (error != 0)
        side = np.copysign(np.inf, error)
        odd = np.where(inexact & even, np.nextafter(total, side), total)
        return odd.astype(np.float32)


def positions(size: int, out: int, kernel: int, stride: int, dilation: int, before: int) -> Array:
    """Where each window looks along one side, (out, kernel), counted from the image's first position."""
    return (np.arange(out) * stride)[:, None] + np.arange(kernel) * dilation - before


def convolve(
    x: Array, weights: Array, node: Node, *, padded: float = 0.0
) -> npt.NDArray[np.float64]:
    """The convolution of `node`, summed in float64; positions outside the image count `padded`.

    Args:
        x: (n, h, w, c).
        weights: (o, kh, kw, cg).
        node: gives window, groups and output shape.
        padded: value of a padded position.
    """
    top, left, bottom, right = node.window.pads
    image = np.pad(
        np.asarray(x, np.float64),
        ((0, 0), (top, bottom), (left, right), (0, 0)),
        constant_values=padded,
    )
    height, width, o = node.shape
    og, cg = o // node.groups, weights.shape[3]
    total = np.zeros((len(x), height, width, o))
    for row, column, part in _taps(image, node.window, height, width):
        for group in range(node.groups):
            ins, outs = slice(group * cg, (group + 1) * cg), slice(group * og, (group + 1) * og)
            filters = weights[outs, row, column].astype(np.float64)
            total[..., outs] += part[..., ins] @ filters.T
    return total


def _taps(image: Array, window: Window, height: int, width: int) -> list[tuple[int, int, Array]]:
    """For each position of the window, row by row: the part of the padded image that meets it."""
    found = []
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            y, x = row * window.dilation[0], column * window.dilation[1]
            rows = slice(y, y + (height - 1) * window.stride[0] + 1, window.stride[0])
            columns = slice(x, x + (width - 1) * window.stride[1] + 1, window.stride[1])
            found.append((row, column, image[:, rows, columns]))
    return found


def binary_conv(codes: Array, signs: Array, node: Node) -> Floats:
    """Signs times signs; with `unit`, levels 0 and 1 times signs. `signs` are (o, cg, kh, kw)."""
    level, padded = codes.astype(np.float64), float(node.pad)
    if node.unit:
        level, padded = (level + 1) / 2, (padded + 1) / 2
    return convolve(level, signs.transpose(0, 2, 3, 1), node, padded=padded).astype(np.float32)


def int8_conv(image: Array, weights: Array, scale: Array, zero: Array, node: Node) -> Floats:
    """Bytes times int8 weights, fl(fl(acc) * scale) + offset; a padded position counts as real zero."""
    total = convolve(image, weights, node).astype(np.float32)
    zeros = np.broadcast_to(zero.astype(np.float64), (1, *image.shape[1:]))
    offset = -scale.astype(np.float64) * convolve(zeros, weights, node)
    return total * scale + offset.astype(np.float32)


def max_pool(x: Floats, node: Node) -> Floats:
    """The largest inside the image; NaN if there is one."""
    top, left, bottom, right = node.window.pads
    sides = ((0, 0), (top, bottom), (left, right), (0, 0))
    image = np.pad(x, sides, constant_values=-np.inf)
    best = np.full((len(x), *node.shape), -np.inf, np.float32)
    for _, _, part in _taps(image, node.window, *node.shape[:2]):
        best = np.maximum(best, part)
    return best


def avg_pool(x: Floats, node: Node) -> Floats:
    """The float32 sum, one position after the other and row by row, over the count of positions."""
    top, left, bottom, right = node.window.pads
    image = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    total = np.zeros((len(x), *node.shape), np.float32)
    for _, _, part in _taps(image, node.window, *node.shape[:2]):
        total = total + part
    return total / pool_counts(x.shape[1:3], node)[..., None]


def pool_counts(size: tuple[int, ...], node: Node) -> Floats:
    """What `avg_pool` divides by, (h, w): positions in the image, in image and padding, or a number."""
    count = node.attributes["count"]
    if count not in ("inside", "padded"):
        return np.full(node.shape[:2], count, np.float32)
    padding: Any = node.attributes["padding"] if count == "padded" else (0, 0)
    sides = []
    for axis in (0, 1):
        window = node.window
        seen = positions(
            size[axis],
            node.shape[axis],
            window.kernel[axis],
            window.stride[axis],
            window.dilation[axis],
            window.pads[axis],
        )
        sides.append(((seen >= -padding[axis]) & (seen < size[axis] + padding[axis])).sum(1))
    return np.outer(*sides).astype(np.float32)
