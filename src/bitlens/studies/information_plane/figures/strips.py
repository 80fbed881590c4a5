"""Rows of dots, one a seed, with their median and its interval: the layout of two figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitlens.studies.figures.panel import Panel, ticks
from bitlens.studies.figures.svg import (
    COLORS,
    GREY,
    QUIET,
    SMALL,
    dot,
    line,
    text,
)
from bitlens.studies.information_plane.figures.evidence import Place
from bitlens.studies.information_plane.figures.keys import key
from bitlens.studies.information_plane.intervals import median_interval
from bitlens.studies.information_plane.paths import Path

DEEP = {1: ("deepest hidden layer", COLORS[0]), 2: ("hidden layer before it", COLORS[4])}
"""Layers from the end, how they are called, and their colors."""
ROW = 31
GAP = 38


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A row: its name, a quiet second name, and the paths of its two deep layers by task and shape."""

    name: str
    note: str
    groups: Mapping[tuple[Place, int], Sequence[Path]]


def strips(
    rows: Sequence[Strip],
    places: Sequence[Place],
    statistic: str,
    span: tuple[float, float],
    *,
    left: float,
    top: float,
    across: float,
    mark: float = 0.0,
) -> Iterator[str]:
    """Panels of one statistic side by side, one a task and shape, sharing the rows' names at the left.

    Args:
        rows: from top to bottom.
        places: from left to right.
        statistic: field of `Path`, for example "coupling".
        span: ends of the scale.
        left: where the first panel begins; the names lie left of it.
        top: of the panels.
        across: width of a panel, with the gap after it.
        mark: value at which a line is drawn.
    """
    high = ROW * len(rows)
    for number, row in enumerate(rows):
        middle = top + ROW * (number + 0.5)
        yield text(14, middle - (2 if row.note else -4), row.name, weight="600")
        if row.note:
            yield text(14, middle + 11, row.note, size=SMALL, fill=QUIET)
    for column, place in enumerate(places):
        panel = Panel(
            left=left + column * across,
            top=top,
            width=across - GAP,
            height=high,
            x_range=span,
            y_range=(0, len(rows)),
        )
        yield panel.title(*place)
        yield panel.x_axis(ticks(*span, most=5))
        for number in range(1, len(rows)):
            yield line(
                (panel.left, top + ROW * number), (panel.right, top + ROW * number), "#eef1f4"
            )
        yield line((panel.x(mark), top), (panel.x(mark), panel.bottom), GREY, 1.5)
        yield panel.frame()
        for number, row in enumerate(rows):
            for from_end in DEEP:
                group = row.groups.get((place, from_end), ())
                yield from _dots(panel, top + ROW * number, group, statistic, from_end)


def strip_key(x: float, y: float) -> str:
    """What the marks are."""
    words = (
        "dot: a seed; bar: median, line: its 95 % interval (six seeds or more); "
        "3/5: defined in 3 of 5 seeds"
    )
    return key(x, y, DEEP.values()) + text(x + 330, y, words, fill=QUIET)


def _dots(
    panel: Panel, top: float, group: Sequence[Path], statistic: str, from_end: int
) -> Iterator[str]:
    values = [value for path in group if (value := getattr(path, statistic)) is not None]
    # The layer before lies above the deepest, as it does in a net that is drawn from the top.
    height, color = top + (9 if from_end == 2 else 22), DEEP[from_end][1]
    if not values:
        if group:
            reason = "saturated" if "saturated" in group[0].why_not else "not defined"
            yield text(panel.right - 4, height + 4, reason, anchor="end", size=SMALL, fill=GREY)
        return
    if len(values) < len(group):
        part = f"{len(values)}/{len(group)}"
        yield text(panel.right + 4, height + 4, part, size=SMALL, fill=QUIET)
    interval = median_interval(values)
    if interval is not None:
        yield line((panel.x(interval[0]), height), (panel.x(interval[1]), height), color, 1.6)
    for value in values:
        yield dot((panel.x(value), height), 2.6, color, opacity=0.5)
    middle = panel.x(float(np.median(values)))
    yield line((middle, height - 5.5), (middle, height + 5.5), color, 2.6)
