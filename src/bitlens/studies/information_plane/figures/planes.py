"""The information planes: a row a task, a column a kind and read-out, a path a layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bitlens.information.layers import SIGNS
from bitlens.studies.figures.panel import Panel, ticks
from bitlens.studies.figures.svg import (
    GREY,
    INK,
    QUIET,
    SMALL,
    Point,
    breadth,
    document,
    dot,
    line,
    polyline,
    text,
    viridis,
)
from bitlens.studies.information_plane.figures.evidence import (
    Evidence,
    Figure,
    mean_path,
    read_by,
    seeds_told,
    steps_told,
)
from bitlens.studies.information_plane.figures.keys import step_key
from bitlens.studies.information_plane.measure import BINS
from bitlens.studies.information_plane.paths import Trajectory

COLUMNS = (
    ("dnn-tanh", f"{BINS} bins"),
    ("dnn-tanh", SIGNS),
    ("dnn-tanh-spread", SIGNS),
    ("w32a32-bn", SIGNS),
    ("bnn-ste", SIGNS),
    ("bnn-ste-cmim-strong", SIGNS),
)
TITLE = "Paths in the information plane"
NAME = "planes"
WIDE, LEFT, TOP, HIGH, GAP = 1060, 70, 62, 170, 62


def draw(evidence: Evidence) -> Figure:
    """Mean path over seeds of every hidden layer, colored by step."""
    cells = {
        (task, column): evidence.of(task, *column) for task in evidence.tasks for column in COLUMNS
    }
    tasks = [task for task in evidence.tasks if any(cells[task, column] for column in COLUMNS)]
    columns = [column for column in COLUMNS if any(cells[task, column] for task in tasks)]
    shown = [trajectory for group in cells.values() for trajectory in group]
    if not shown:
        needs = f"Needs nets of one of the kinds {', '.join(kind for kind, _ in COLUMNS)}."
        return Figure(name=NAME, title=TITLE, svg=None, caption=needs)
    most = max(math.log10(1 + trajectory.steps[-1]) for trajectory in shown)
    across = (WIDE - LEFT - 16 - 18 * (len(columns) - 1)) / len(columns)
    across = min(across, 320)
    parts = []
    for row, task in enumerate(tasks):
        top = TOP + row * (HIGH + GAP)
        for place, column in enumerate(columns):
            left = LEFT + place * (across + 18)
            group = cells[task, column]
            panel = _panel(left, top, across, [t for c in columns for t in cells[task, c]])
            parts += _axes(panel, first=place == 0)
            if row == 0:
                parts.append(text(left, top - 26, column[0], weight="600"))
                parts.append(text(left, top - 11, read_by(column[1]), size=SMALL, fill=QUIET))
            parts += _paths(panel, group, most) if group else [panel.nothing("not measured")]
        parts.append(text(14, top + HIGH / 2, task, anchor="middle", weight="600", turned=True))
        parts.append(_titles(LEFT, top, across))
    bottom = TOP + len(tasks) * (HIGH + GAP) + 4
    parts.append(step_key(LEFT + 40, bottom, most))
    parts.append(dot((LEFT + 272, bottom + 5), 3.5, GREY, hollow=True))
    parts.append(text(LEFT + 282, bottom + 9, "saturated: as many codes as samples"))
    parts.append(line((LEFT + 520, bottom + 5), (LEFT + 545, bottom + 5), QUIET, 1, "4 3"))
    parts.append(text(LEFT + 552, bottom + 9, "ceilings log2 N and H(Y)"))
    return Figure(
        name=NAME,
        title=TITLE,
        svg=document(WIDE, bottom + 34, TITLE, parts),
        caption=(
            "Each path is the mean over seeds of one hidden layer; its name stands at the end of "
            "training. A path that goes up and to the right fits while it expands; up and to the left, "
            "it fits while it compresses. Compare columns of the same net in two read-outs: the "
            "weights are the same, the picture need not be."
        ),
        source="; ".join([seeds_told(t.path for t in shown), steps_told(shown), "plug-in, bits"]),
    )


def _titles(left: float, top: float, across: float) -> str:
    """Titles of the axes, at the first panel of a row."""
    below = text(left + across / 2, top + HIGH + 30, "I(X;T), bits", anchor="middle", fill=QUIET)
    return below + text(
        34, top + HIGH / 2, "I(T;Y), bits", anchor="middle", fill=QUIET, turned=True
    )


def _panel(left: float, top: float, across: float, row: Sequence[Trajectory]) -> Panel:
    """The same scales for a whole row; a little room beyond the ceilings."""
    return Panel(
        left=left,
        top=top,
        width=across,
        height=HIGH,
        x_range=(0, 1.1 * max(trajectory.log2_samples for trajectory in row)),
        y_range=(0, 1.14 * max(trajectory.label_entropy for trajectory in row)),
    )


def _axes(panel: Panel, *, first: bool) -> list[str]:
    along, up = ticks(*panel.x_range, most=5), ticks(*panel.y_range, most=5)
    return [panel.x_axis(along), panel.y_axis(up, None if first else [""] * len(up)), panel.frame()]


def _paths(panel: Panel, group: Sequence[Trajectory], most: float) -> Iterator[str]:
    samples, labels = group[0].log2_samples, group[0].label_entropy
    yield line(panel.at(samples, 0), (panel.x(samples), panel.top), QUIET, 1, "4 3")
    yield line(panel.at(0, labels), (panel.right, panel.y(labels)), QUIET, 1, "4 3")
    yield text(panel.x(samples) - 3, panel.bottom - 5, "log2 N", anchor="end", size=11, fill=QUIET)
    yield text(panel.left + 3, panel.y(labels) - 4, "H(Y)", size=11, fill=QUIET)
    names: list[tuple[Point, str]] = []
    for layer in sorted({trajectory.path.layer for trajectory in group}):
        steps, x, y, lost = mean_path([t for t in group if t.path.layer == layer])
        points = [panel.at(a, b) for a, b in zip(x, y, strict=True)]
        shares = [math.log10(1 + step) / most for step in steps]
        yield polyline(points, GREY, 1, 0.7)
        for point, share, grey in zip(points, shares, lost, strict=True):
            yield dot(point, 2.4 if grey else 2, GREY if grey else viridis(share), hollow=grey)
        names.append((points[-1], layer))
    for (x_at, y_at), name in _apart(_merged(names)):
        x_at = min(x_at, panel.right - breadth(name, SMALL) / 2)
        yield text(x_at, y_at, name, anchor="middle", size=SMALL, fill=INK, weight="600", halo=True)


def _merged(names: Sequence[tuple[Point, str]]) -> list[tuple[Point, str]]:
    """Names of paths that end at one place as one: L1 to L3 become "L1-L3"."""
    together: list[tuple[Point, list[str]]] = []
    for (x, y), name in names:
        near = (names for (a, b), names in together if abs(x - a) < 5 and abs(y - b) < 5)
        found = next(near, None)
        if found is None:
            together.append(((x, y), [name]))
        else:
            found.append(name)
    return [(point, _range(found)) for point, found in together]


def _range(names: Sequence[str]) -> str:
    numbers = [int(name.removeprefix("L")) for name in names]
    if len(names) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{names[0]}-{names[-1]}"
    return ",".join(names)


def _apart(names: Sequence[tuple[Point, str]]) -> Iterator[tuple[Point, str]]:
    """Names above their points, from left to right; one that would lie on another goes below."""
    already: list[tuple[Point, str]] = []
    for (x, y), name in sorted(names):
        heights = (y - 6, y + 15, y + 27, y + 39, y - 18)
        free = (
            height
            for height in heights
            if all(
                abs(x - a) > (breadth(name, SMALL) + breadth(other, SMALL)) / 2 + 3
                or abs(height - b) > 10
                for (a, b), other in already
            )
        )
        chosen = next(free, heights[0])
        already.append(((x, chosen), name))
        yield (x, chosen), name
