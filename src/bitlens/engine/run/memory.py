"""Where values lie: their places, and one arena in which places that are not needed at once overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitlens.engine.graph import LANES, Kind, Value
from bitlens.engine.words import words_for

ALIGNMENT = 64
SLACK = 64
"""Bytes behind every place that a kernel may read and nobody writes."""

Sides = tuple[int, int, int, int]


class InArena(int):
    """An address counted from the beginning of the arena."""


def pixel_bytes(kind: Kind, channels: int) -> int:
    """Bytes of a pixel: whole vectors of floats, whole words of signs, or the bytes themselves."""
    if kind == "codes":
        return 4 * words_for(channels)
    return channels if kind == "u8" else 4 * LANES * -(-channels // LANES)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A value's memory.

    Attributes:
        kind: what its elements are.
        shape: (h, w, c) without the border.
        border: pixels around it at (top, left, bottom, right).
        pixel: bytes of a pixel.
        start: where it begins in the arena, border included.
    """

    kind: Kind
    shape: tuple[int, int, int]
    border: Sides = (0, 0, 0, 0)
    pixel: int
    start: int = 0

    @property
    def row(self) -> int:
        """Bytes from a row to the next."""
        return (self.border[1] + self.shape[1] + self.border[3]) * self.pixel

    @property
    def size(self) -> int:
        """Bytes, with the border and the slack."""
        return (self.border[0] + self.shape[0] + self.border[2]) * self.row + SLACK

    def at(self, y: int = 0, x: int = 0, offset: int = 0) -> InArena:
        """Address of a pixel, which may lie in the border, plus bytes."""
        pixels = (self.border[0] + y) * self.row + (self.border[1] + x) * self.pixel
        return InArena(self.start + pixels + offset)


def place(value: Value, border: Sides = (0, 0, 0, 0)) -> Place:
    """The place of a value, not yet anywhere in the arena."""
    pixel = pixel_bytes(value.kind, value.shape[2])
    return Place(kind=value.kind, shape=value.shape, border=border, pixel=pixel)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Memory wanted: `size` bytes from operation `first` to operation `last`, both included."""

    size: int
    first: int
    last: int


def arrange(spans: Sequence[Span]) -> tuple[list[int], int]:
    """Give every span a start such that no two that live at once overlap.

    The largest first, each into the tightest gap between those already there.

    Returns:
        The starts in the order of `spans`, multiples of 64, and the bytes of the arena.
    """
    starts = [0] * len(spans)
    placed: list[int] = []
    for i in sorted(range(len(spans)), key=lambda i: (-spans[i].size, spans[i].first, i)):
        span = spans[i]
        beside = [j for j in placed if spans[j].first <= span.last and span.first <= spans[j].last]
        taken = sorted((starts[j], starts[j] + _whole(spans[j].size)) for j in beside)
        starts[i] = _tightest(taken, _whole(span.size))
        placed.append(i)
    ends = (start + _whole(span.size) for start, span in zip(starts, spans, strict=True))
    return starts, max(ends, default=0)


def _tightest(taken: list[tuple[int, int]], size: int) -> int:
    best, waste, end = -1, -1, 0
    for start, stop in taken:
        gap = start - end
        if gap >= size and (best < 0 or gap - size < waste):
            best, waste = end, gap - size
        end = max(end, stop)
    return end if best < 0 else best


def _whole(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
