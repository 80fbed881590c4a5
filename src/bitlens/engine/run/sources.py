"""Which rows, columns or channels a moved value shows.

A resize finds them in float32, as torch's `interpolate` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.errors import unknown

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
HALF = np.float32(0.5)


def _step(size: int, out: int, factor: float | None) -> np.float32:
    return np.float32(size) / np.float32(out) if factor is None else np.float32(1.0 / factor)


def nearest(size: int, out: int, factor: float | None) -> Indices:
    """The row or column nearest to each output one, (out,)."""
    if out == size:
        return np.arange(out)
    if out == 2 * size:
        return np.arange(out) // 2
    where = np.floor(np.arange(out, dtype=np.float32) * _step(size, out, factor))
    return np.minimum(where.astype(np.int64), size - 1)


def between(
    size: int, out: int, factor: float | None, *, align_corners: bool
) -> tuple[Indices, Floats]:
    """The two rows or columns around each output one, (out, 2), and the weight of the second, (out,)."""
    if out == size:
        same = np.arange(out)
        return np.stack([same, same], 1), np.zeros(out, np.float32)
    places = np.arange(out, dtype=np.float32)
    if align_corners:
        places *= np.float32(size - 1) / np.float32(out - 1) if out > 1 else np.float32(0)
    else:
        places = np.maximum(_step(size, out, factor) * (places + HALF) - HALF, np.float32(0))
    first = np.minimum(places.astype(np.int64), size - 1)
    second = np.minimum(first + 1, size - 1)
    weight = np.clip(places - first.astype(np.float32), 0, 1).astype(np.float32)
    return np.stack([first, second], 1), weight


def taken(part: Any, size: int) -> range:
    """What a slice (start, stop, step) of `size` takes, all where it is None."""
    if part is None:
        return range(size)
    return range(*slice(*(None if n is None else int(n) for n in part)).indices(size))


def padded(size: int, before: int, after: int, mode: str) -> list[int]:
    """Which row or column each of the padded ones shows, -1 for the constant.

    Raises:
        BitlensError: there is no such mode.
    """
    places = np.arange(-before, size + after)
    match mode:
        case "reflect":
            period = max(2 * (size - 1), 1)
            folded = np.abs(places) % period
            places = np.where(folded >= size, period - folded, folded)
        case "replicate":
            places = places.clip(0, size - 1)
        case "circular":
            places = places % size
        case "constant":
            places = np.where((places >= 0) & (places < size), places, -1)
        case _:
            raise unknown("mode of padding", mode, ("constant", "reflect", "replicate", "circular"))
    return [int(place) for place in places]
