"""One net, four read-outs: how much of the picture is the instrument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bitlens.information.layers import SIGNS
from bitlens.studies.figures.panel import Panel, ticks
from bitlens.studies.figures.svg import (
    COLORS,
    QUIET,
    document,
    dot,
    line,
    polyline,
    text,
)
from bitlens.studies.information_plane.figures.evidence import (
    Evidence,
    Figure,
    seeds_told,
    steps_told,
)
from bitlens.studies.information_plane.figures.keys import key
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.measure import BINS, KERNEL_SAMPLES, WIDTH
from bitlens.studies.information_plane.paths import Path, Trajectory

TITLE = "Final I(X;T) of float layers in four read-outs"
NAME = "estimators"
READOUTS = {
    SIGNS: COLORS[0],
    f"{BINS} bins": COLORS[1],
    f"width {WIDTH}": COLORS[4],
    "kernel": COLORS[2],
}
WIDE, LEFT, TOP, HIGH, GAP = 1040, 196, 66, 120, 40


def draw(evidence: Evidence) -> Figure:
    """A row a float kind, a column a task, the layers along each panel."""
    kinds = [kind.name for kind in KINDS.values() if kind.activation != "sign"]
    cells = {
        (task, kind): _by_readout(evidence, task, kind) for task in evidence.tasks for kind in kinds
    }
    kinds = [kind for kind in kinds if any(cells[task, kind] for task in evidence.tasks)]
    tasks = [task for task in evidence.tasks if any(cells[task, kind] for kind in kinds)]
    if not kinds:
        needs = "Needs float nets that are read by bins and by kernel densities as well."
        return Figure(name=NAME, title=TITLE, svg=None, caption=needs)
    across = min((WIDE - LEFT - 14) / len(tasks), 430)
    right = max(LEFT + across * len(tasks) - 12, LEFT + 830)
    parts = [key(LEFT, 22, READOUTS.items()), _ceiling_key(LEFT + 320, 22)]
    for row, kind in enumerate(kinds):
        top = TOP + row * (HIGH + GAP)
        parts.append(text(14, top + HIGH / 2 + 4, kind, weight="600"))
        for place, task in enumerate(tasks):
            panel = _panel(LEFT + place * across, top, across - 26, cells, task)
            if row == 0:
                parts.append(text(panel.left, TOP - 10, task, weight="600"))
            parts += _panel_parts(panel, cells[task, kind], first=place == 0)
    shown = [t for cell in cells.values() for group in cell.values() for t in group]
    return Figure(
        name=NAME,
        title=TITLE,
        svg=document(right, TOP + len(kinds) * (HIGH + GAP) + 4, TITLE, parts),
        caption=(
            "Same nets, same samples, same moment. Signs keep one bit a unit; bins keep the magnitude and "
            "soon tell every sample from every other; the kernel bound adds noise of variance 0.1 and "
            f"sees {KERNEL_SAMPLES:,} samples. Mean over seeds, the bar from the lowest to the highest "
            "seed; hollow where half of the seeds or more are saturated, so that the number says how "
            "many samples there are and nothing about the layer."
        ),
        source=f"{seeds_told(t.path for t in shown)}; at the end ({steps_told(shown)}); plug-in, bits",
    )


def _by_readout(evidence: Evidence, task: str, kind: str) -> dict[str, list[Trajectory]]:
    found = {readout: evidence.of(task, kind, readout) for readout in READOUTS}
    found = {readout: group for readout, group in found.items() if group}
    return found if len(found) > 1 else {}


def _panel(
    left: float,
    top: float,
    width: float,
    cells: Mapping[tuple[str, str], Mapping[str, Sequence[Trajectory]]],
    task: str,
) -> Panel:
    shown = [t for (of, _), cell in cells.items() if of == task for g in cell.values() for t in g]
    return Panel(
        left=left,
        top=top,
        width=width,
        height=HIGH,
        x_range=(0.5, max(trajectory.path.depth for trajectory in shown) + 0.5),
        y_range=(0, 1.08 * max(trajectory.log2_samples for trajectory in shown)),
    )


def _panel_parts(
    panel: Panel, cell: Mapping[str, Sequence[Trajectory]], *, first: bool
) -> Iterator[str]:
    layers = range(1, int(panel.x_range[1]) + 1)
    yield panel.x_axis(list(layers), [f"L{layer}" for layer in layers])
    yield panel.y_axis(ticks(*panel.y_range, most=5))
    yield panel.frame()
    if first:
        yield panel.y_title("bits", 28)
    if not cell:
        yield panel.nothing("not measured")
    ceilings = {trajectory.log2_samples for group in cell.values() for trajectory in group}
    for ceiling in sorted(ceilings):
        y = panel.y(ceiling)
        yield line((panel.left, y), (panel.right, y), QUIET, 1, "4 3")
    for place, (readout, group) in enumerate(cell.items()):
        yield from _marks(panel, group, READOUTS[readout], 0.13 * (place - 1.5))


def _marks(panel: Panel, group: Sequence[Trajectory], color: str, shift: float) -> Iterator[str]:
    means = []
    for depth in sorted({trajectory.path.depth for trajectory in group}):
        paths: list[Path] = [t.path for t in group if t.path.depth == depth]
        last = [path.entropy_last for path in paths]
        x, mean = depth + shift, float(np.mean(last))
        yield line(panel.at(x, min(last)), panel.at(x, max(last)), color, 1.6)
        lost = sum(path.flag_last == "saturated" for path in paths)
        means.append((panel.at(x, mean), 2 * lost >= len(paths)))
    yield polyline([point for point, _ in means], color, 1, 0.45)
    for point, lost in means:
        yield dot(point, 3.6, color, hollow=lost)


def _ceiling_key(x: float, y: float) -> str:
    parts = [
        dot((x + 5, y - 4), 4.5, QUIET, hollow=True),
        text(x + 14, y, "saturated"),
        line((x + 92, y - 4), (x + 117, y - 4), QUIET, 1, "4 3"),
        text(x + 124, y, f"log2 of the samples: all of them, and the kernel's {KERNEL_SAMPLES:,}"),
    ]
    return "".join(parts)
