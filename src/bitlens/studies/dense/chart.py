"""The headline metrics as a picture: a row for each variant, a dot a seed, a dashed line for the constant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bitlens.studies.dense.metrics import METRICS, TASK_TITLES
from bitlens.studies.figures.panel import Panel, ticks
from bitlens.studies.figures.svg import (
    COLORS,
    GREY,
    INK,
    LINE,
    breadth,
    document,
    dot,
    line,
    text,
)

WIDTH, ROW, TOP, BELOW = 760, 26, 44, 48
_KEY = "a dot a seed, a bar their mean; dashed: the best constant"
REAL, PLAIN, WITH_CMIM = INK, COLORS[0], COLORS[1]


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One metric of one comparison.

    Attributes:
        task: of the comparison.
        metric: a name of `METRICS`.
        constant: the best that a predictor reaches that looks at no image.
        rows: variant, color, and its value of every seed.
    """

    task: str
    metric: str
    constant: float
    rows: Sequence[tuple[str, str, Sequence[float]]]


def chart(strips: Sequence[Strip]) -> str:
    """All strips under each other, as SVG."""
    names = [name for strip in strips for name, _, _ in strip.rows]
    left = 24 + max(breadth(name) for name in names)
    parts, top = [], 10.0
    for strip in strips:
        parts += _strip(strip, left, top)
        top += TOP + ROW * len(strip.rows) + BELOW
    return document(WIDTH, top, "Headline metrics seed by seed", parts)


def _strip(strip: Strip, left: float, top: float) -> list[str]:
    metric = METRICS[strip.metric]
    seeds = [metric.scale * value for _, _, values in strip.rows for value in values]
    constant = metric.scale * strip.constant
    low, high = min([*seeds, constant]), max([*seeds, constant])
    room = 0.05 * (high - low) or 0.5
    panel = Panel(
        left=left,
        top=top + TOP,
        width=WIDTH - left - 24,
        height=ROW * len(strip.rows),
        x_range=(low - room, high + room),
        y_range=(0, len(strip.rows)),
    )
    parts = [
        panel.title(f"{TASK_TITLES[strip.task]}: {metric.title}", _KEY),
        panel.frame(),
        panel.x_axis(ticks(*panel.x_range)),
    ]
    x = panel.x(constant)
    parts.append(line((x, panel.top), (x, panel.bottom), GREY, 1.5, dash="5 3"))
    for place, (name, color, values) in enumerate(strip.rows):
        y = panel.top + (place + 0.5) * ROW
        if place:
            edge = panel.top + place * ROW
            parts.append(line((panel.left, edge), (panel.right, edge), LINE, dash="1 3"))
        parts.append(text(panel.left - 10, y + 4, name, anchor="end"))
        mean = panel.x(metric.scale * math.fsum(values) / len(values))
        parts.append(line((mean, y - 8), (mean, y + 8), color, 2))
        for value in values:
            shown = metric.written(value)
            parts.append(
                dot(
                    (panel.x(metric.scale * value), y),
                    4,
                    color,
                    opacity=0.6,
                    tip=f"{name}: {shown}",
                )
            )
    return parts
