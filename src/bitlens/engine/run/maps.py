"""From a map of answers to the pixels it stands for: bilinear interpolation between pixel centres.

Numpy only, for a process that shall not wait for torch. What it computes is what torch's `interpolate`
with `align_corners=False` does, up to the last digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.run.sources import between

Array = npt.NDArray[Any]
Size = tuple[int, int]

BAND_NUMBERS = 1 << 23
"""Numbers of an enlarged map that are made at once: 32 MB."""


def upsampled(answer: Array, stride: int, size: Size) -> Array:
    """A map at its image's size.

    Args:
        answer: float32 (c, ceil(h / stride), ceil(w / stride)).
        stride: pixels of the image's side to one of the map's.
        size: (h, w) of the image, or of its upper left part that is wanted.

    Returns:
        float32 (c, h, w): the map enlarged by exactly `stride`, and cut.
    """
    _, height, width = answer.shape
    whole = (stride * height, stride * width)
    return _resized(answer, whole, slice(0, size[0]), slice(0, size[1]))


def resized_bands(pixels: Array, size: Size) -> Iterator[tuple[slice, Array]]:
    """A map at another size, some rows at a time, so that large pictures need little memory.

    Args:
        pixels: float32 (c, h, w).
        size: (H, W) wanted.

    Yields:
        Rows of the result and their float32 (c, rows, W).
    """
    channels, height, width = pixels.shape
    step = max(1, BAND_NUMBERS // (channels * max(size[1], width)))
    for first in range(0, size[0], step):
        rows = slice(first, min(first + step, size[0]))
        if size == (height, width):
            yield rows, pixels[:, rows]
        else:
            yield rows, _resized(pixels, size, rows, slice(0, size[1]))


def _resized(pixels: Array, size: Size, rows: slice, columns: slice) -> Array:
    """Some rows and columns of the map at another size."""
    channels, height, width = pixels.shape
    up, down = (found[rows] for found in between(height, size[0], None, align_corners=False))
    left, right = (found[columns] for found in between(width, size[1], None, align_corners=False))
    found = np.empty((channels, len(down), len(right)), np.float32)
    for channel, plane in zip(found, pixels, strict=True):
        # Columns first, as torch does, and of the rows that are read alone.
        top, end = (int(up.min()), int(up.max()) + 1) if len(up) else (0, 0)
        wide = _blend(plane[top:end, left[:, 0]], plane[top:end, left[:, 1]], right)
        channel[...] = _blend(wide[up[:, 0] - top], wide[up[:, 1] - top], down[:, None])
    return found


def _blend(first: Array, second: Array, weight: Array) -> Array:
    return first * (np.float32(1) - weight) + second * weight
