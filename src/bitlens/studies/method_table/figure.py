"""The method table as a picture: a dot a method, plain and with CMIM, its seeds as small ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bitlens.models import FLOAT
from bitlens.report.quantities import plural
from bitlens.studies.figures.svg import (
    COLORS,
    GREY,
    INK,
    LINE,
    QUIET,
    SMALL,
    document,
    dot,
    dots,
    line,
    text,
)
from bitlens.studies.method_table.rows import PLAIN_STE, BySeed, DataTable, MethodRow

LEFT, PANEL, GAP, HEAD, TOP, ROW, BOTTOM = 92, 330, 24, 48, 70, 24, 44
PLAIN, WITH_CMIM = COLORS[0], COLORS[1]
APART = 4.5
"""Pixels by which plain lies above and CMIM below the middle of a method's row."""
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20)
"""Distances of ticks, in points, of which the first that gives at most `MOST_TICKS` is taken."""
MOST_TICKS = 8


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Accuracy in percent along a panel that begins at pixel `left`."""

    left: float
    low: float
    high: float
    tick: float

    def __call__(self, percent: float) -> float:
        return self.left + (percent - self.low) / (self.high - self.low) * PANEL

    @property
    def ticks(self) -> list[float]:
        count = round((self.high - self.low) / self.tick)
        return [self.low + k * self.tick for k in range(count + 1)]


def draw(tables: Mapping[str, DataTable]) -> str:
    """One panel a data set, methods from the most accurate down; SVG text that ends with a newline."""
    panels = [table for table in tables.values() if table.rows]
    most = max(len(table.rows) for table in panels)
    width = len(panels) * (LEFT + PANEL) + (len(panels) - 1) * GAP + 20
    height = TOP + most * ROW + BOTTOM
    parts = _legend()
    for number, table in enumerate(panels):
        parts += _panel(table, number * (LEFT + PANEL + GAP))
    title = "Test accuracy of every binarization method, plain and with CMIM"
    return document(width, height, title, parts) + "\n"


def _panel(table: DataTable, left: float) -> list[str]:
    ordered = sorted(table.rows, key=_mean, reverse=True)
    axis = _axis(ordered, left + LEFT)
    bottom = TOP + len(ordered) * ROW
    shared = table.budget
    about = f"{plural(int(shared['epochs']), 'epoch')} of {int(shared['train_images']):,} images"
    parts = [
        text(axis.left, HEAD, table.data, weight="bold"),
        text(axis.left + PANEL, HEAD, about, anchor="end", size=SMALL, fill=QUIET),
    ]
    for percent in axis.ticks:
        x = axis(percent)
        parts.append(line((x, TOP - 8), (x, bottom), LINE))
        label = f"{percent:.1f}" if axis.tick < 1 else f"{percent:.0f}"
        parts.append(text(x, bottom + 16, label, anchor="middle", size=SMALL, fill=QUIET))
    middle = axis.left + PANEL / 2
    parts.append(text(middle, bottom + 34, "test accuracy, %", anchor="middle", size=SMALL))
    for row in ordered:
        if row.method == PLAIN_STE and row.accuracy:
            x = axis(100 * row.accuracy.mean)
            parts.append(line((x, TOP - 8), (x, bottom), GREY, dash="4 3"))
    for place, row in enumerate(ordered):
        if place:
            y = TOP + place * ROW
            parts.append(line((axis.left, y), (axis.left + PANEL, y), LINE, dash="1 3"))
        parts += _row(row, axis, TOP + (place + 0.5) * ROW)
    return parts


def _row(row: MethodRow, axis: _Axis, y: float) -> list[str]:
    parts = [text(axis.left - 10, y + 4, row.method, anchor="end")]
    color = INK if row.method == FLOAT else PLAIN
    shift = -APART if row.cmim else 0.0
    for by_seed, height, ink, name in (
        (row.plain, y + shift, color, "plain"),
        (row.cmim, y + APART, WITH_CMIM, "with CMIM"),
    ):
        if not by_seed:
            continue
        mean = 100 * sum(by_seed.values()) / len(by_seed)
        tip = f"{row.method}, {name}: {mean:.2f} % (n = {len(by_seed)})"
        parts.append(dots([(axis(100 * a), height) for a in by_seed.values()], 2, ink, 0.55))
        parts.append(dot((axis(mean), height), 4.2, ink, tip=tip))
    return parts


def _legend() -> list[str]:
    parts, x = [], float(LEFT)
    for ink, label in ((PLAIN, "plain"), (WITH_CMIM, "with CMIM"), (INK, "float net")):
        parts += [dot((x + 4, 16), 4.2, ink), text(x + 14, 20, label)]
        x += 96
    parts += [dots([(x + 4, 16)], 2, QUIET, 0.8), text(x + 14, 20, "one seed")]
    parts.append(line((x + 90, 10), (x + 90, 23), GREY, dash="4 3"))
    parts.append(text(x + 98, 20, f"{PLAIN_STE}, plain"))
    return parts


def _axis(rows: Sequence[MethodRow], left: float) -> _Axis:
    """From a tick below the least accuracy to one above the largest."""
    values = [100 * a for row in rows for part in (row.plain, row.cmim) for a in part.values()]
    least, largest = min(values), max(values)
    found = (_fitted(least, largest, tick, left) for tick in TICKS)
    return next(axis for axis in found if len(axis.ticks) <= MOST_TICKS)


def _fitted(least: float, largest: float, tick: float, left: float) -> _Axis:
    low = tick * math.floor(least / tick)
    high = max(tick * math.ceil(largest / tick), low + tick)
    return _Axis(left=left, low=low, high=high, tick=tick)


def _mean(row: MethodRow) -> float:
    values: BySeed = row.plain or row.cmim
    return sum(values.values()) / len(values)
