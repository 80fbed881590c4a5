"""A panel: a rectangle with a scale along each side, its grid, numbers and titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bitlens.studies.figures.svg import (
    GREY,
    LINE,
    QUIET,
    SMALL,
    Point,
    line,
    shape,
    text,
)

_TICKS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A rectangle with a scale along each side; its own edges are the scales' ends.

    Attributes:
        left, top, width, height: where it lies, in pixels.
        x_range, y_range: values at its left and right, at its bottom and top.
    """

    left: float
    top: float
    width: float
    height: float
    x_range: Point
    y_range: Point

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height

    def x(self, value: float) -> float:
        """Pixel of a value along the x axis."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * self.width

    def y(self, value: float) -> float:
        """Pixel of a value along the y axis."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * self.height

    def at(self, x: float, y: float) -> Point:
        """Pixels of a pair of values."""
        return self.x(x), self.y(y)

    def frame(self) -> str:
        """Its outline."""
        return shape(
            "rect",
            x=self.left,
            y=self.top,
            width=self.width,
            height=self.height,
            fill="none",
            stroke=GREY,
        )

    def x_axis(self, at: Sequence[float], labels: Sequence[str] | None = None) -> str:
        """Grid lines and, with labels, what they stand for; None writes the numbers."""
        names = [f"{value:g}" for value in at] if labels is None else labels
        return "".join(
            line((self.x(value), self.top), (self.x(value), self.bottom), LINE)
            + (_below(self.x(value), self.bottom, name) if name else "")
            for value, name in zip(at, names, strict=True)
        )

    def y_axis(self, at: Sequence[float], labels: Sequence[str] | None = None) -> str:
        """The same along the other side."""
        names = [f"{value:g}" for value in at] if labels is None else labels
        return "".join(
            line((self.left, self.y(value)), (self.right, self.y(value)), LINE)
            + (_beside(self.left, self.y(value), name) if name else "")
            for value, name in zip(at, names, strict=True)
        )

    def title(self, content: str, below: str = "") -> str:
        """Bold text over it, and a quiet line under that."""
        lift = 20 if below else 6
        second = text(self.left, self.top - 6, below, size=SMALL, fill=QUIET) if below else ""
        return text(self.left, self.top - lift, content, weight="600") + second

    def x_title(self, content: str, drop: float = 32) -> str:
        """What the x axis measures, under its middle."""
        middle = self.left + self.width / 2
        return text(middle, self.bottom + drop, content, anchor="middle", fill=QUIET)

    def y_title(self, content: str, away: float = 34) -> str:
        """What the y axis measures, left of its middle."""
        middle = self.top + self.height / 2
        return text(self.left - away, middle, content, anchor="middle", fill=QUIET, turned=True)

    def nothing(self, reason: str) -> str:
        """Quiet text in its middle, where there is nothing to draw."""
        middle = self.left + self.width / 2, self.top + self.height / 2
        return text(*middle, reason, anchor="middle", size=SMALL, fill=QUIET)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most about `most` of them."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * mantissa for mantissa in _TICKS if power * mantissa >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * k, 10) for k in range(first, last + 1)]


def log_steps(panel: Panel) -> str:
    """Labels 1, 10, 100, ... on an x axis of log10(1 + step), and 0 at its left."""
    most = panel.x_range[1]
    decades = [step for step in (10**k for k in range(7)) if math.log10(1 + step) <= most]
    at = [0.0, *(math.log10(1 + step) for step in decades)]
    names = ["0", *(f"{step}" if step < 1000 else f"{step // 1000}k" for step in decades)]
    return panel.x_axis(at, names)


def _below(x: float, bottom: float, name: str) -> str:
    return text(x, bottom + 15, name, anchor="middle", size=SMALL, fill=QUIET)


def _beside(left: float, y: float, name: str) -> str:
    return text(left - 6, y + 4, name, anchor="end", size=SMALL, fill=QUIET)
