"""Keys: what the colors and marks of a picture stand for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bitlens.studies.figures.panel import Panel
from bitlens.studies.figures.svg import (
    QUIET,
    SMALL,
    breadth,
    dot,
    shape,
    text,
    viridis,
)


def key(
    x: float, y: float, entries: Iterable[tuple[str, str]], *, hollow: Sequence[str] = ()
) -> str:
    """Colored dots with their names, one after another in a line; those named in `hollow` are rings."""
    parts = []
    for name, color in entries:
        parts.append(dot((x + 5, y - 4), 4.5, color, hollow=name in hollow))
        parts.append(text(x + 14, y, name))
        x += 14 + breadth(name) + 18
    return "".join(parts)


def step_key(x: float, y: float, most: float) -> str:
    """The colors of log10(1 + step) from 0 to `most`, with the steps they stand for."""
    scale = Panel(left=x, top=y, width=180, height=10, x_range=(0, most), y_range=(0, 1))
    slices = 36
    parts = [
        shape("rect", x=x + 5 * i, y=y, width=5.5, height=10, fill=viridis((i + 0.5) / slices))
        for i in range(slices)
    ]
    for step in (0, 10, 100, 1000, 10000):
        at = math.log10(1 + step)
        if at <= most:
            name = str(step) if step < 1000 else f"{step // 1000}k"
            parts.append(text(scale.x(at), y + 23, name, anchor="middle", size=SMALL, fill=QUIET))
    return "".join([text(x - 8, y + 9, "step", anchor="end", fill=QUIET), *parts])
