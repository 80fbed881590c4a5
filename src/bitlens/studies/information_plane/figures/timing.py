"""When a layer fits and when it compresses: shares done so far against the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bitlens.information.layers import SIGNS
from bitlens.studies.figures.panel import Panel, log_steps
from bitlens.studies.figures.svg import (
    COLORS,
    QUIET,
    SMALL,
    document,
    polyline,
    text,
)
from bitlens.studies.information_plane.figures.evidence import (
    Evidence,
    Figure,
    read_by,
    seeds_told,
    steps_told,
)
from bitlens.studies.information_plane.figures.keys import key
from bitlens.studies.information_plane.measure import BINS
from bitlens.studies.information_plane.paths import Array, Trajectory

ROWS = (
    ("dnn-tanh", f"{BINS} bins"),
    ("dnn-tanh", SIGNS),
    ("w32a32-bn", SIGNS),
    ("bnn-ste", SIGNS),
)
FIT, COMPRESSION = COLORS[0], COLORS[1]
TITLE = "When the deepest hidden layer fits and when it compresses"
NAME = "timing"
WIDE, LEFT, TOP, HIGH, GAP = 1040, 176, 66, 118, 34


def draw(evidence: Evidence) -> Figure:
    """Cumulative fit and compression of float nets over those of binary nets."""
    cells = {(task, row): evidence.of(task, *row, 1) for task in evidence.tasks for row in ROWS}
    rows = [row for row in ROWS if any(cells[task, row] for task in evidence.tasks)]
    tasks = [task for task in evidence.tasks if any(cells[task, row] for row in rows)]
    shown = [trajectory for group in cells.values() for trajectory in group]
    if not shown:
        needs = f"Needs nets of one of the kinds {', '.join(dict(ROWS))}."
        return Figure(name=NAME, title=TITLE, svg=None, caption=needs)
    across = min((WIDE - LEFT - 20 - 26 * (len(tasks) - 1)) / len(tasks), 380)
    parts = [
        key(LEFT, 22, (("fit, I(T;Y) gained", FIT), ("compression, I(X;T) lost", COMPRESSION)))
    ]
    for number, row in enumerate(rows):
        top = TOP + number * (HIGH + GAP)
        parts.append(text(14, top + HIGH / 2 - 2, row[0], weight="600"))
        parts.append(text(14, top + HIGH / 2 + 14, read_by(row[1]), size=SMALL, fill=QUIET))
        for place, task in enumerate(tasks):
            most = max(t.phases.u[-1] for r in rows for t in cells[task, r])
            panel = Panel(
                left=LEFT + place * (across + 26),
                top=top,
                width=across,
                height=HIGH,
                x_range=(0, float(most)),
                y_range=(0, 1),
            )
            if number == 0:
                parts.append(text(panel.left, TOP - 10, task, weight="600"))
            parts += [*_axes(panel, first=place == 0), *_curves(panel, cells[task, row])]
            if number == len(rows) - 1:
                parts.append(panel.x_title("step"))
    return Figure(
        name=NAME,
        title=TITLE,
        svg=document(
            LEFT + (across + 26) * len(tasks) - 10,
            TOP + len(rows) * (HIGH + GAP) + 16,
            TITLE,
            parts,
        ),
        caption=(
            "Share of all fit and of all compression done so far; thin lines are seeds, the thick one "
            "their mean. Where the orange curve trails the blue one, the layer fits first and "
            "compresses later; where they lie on each other, it does both at once. O is the overlap of "
            "the two (mean over the seeds of each seed's own), rho the rank correlation of I(X;T) and "
            "I(T;Y) until 90 % of the fit. Only seeds with enough of both are drawn."
        ),
        source=f"{seeds_told(t.path for t in shown)}; {steps_told(shown)}; medians of three",
    )


def _axes(panel: Panel, *, first: bool) -> list[str]:
    shares = (0.0, 0.5, 1.0)
    names = ("0", "50 %", "100 %") if first else ("", "", "")
    return [log_steps(panel), panel.y_axis(shares, names), panel.frame()]


def _curves(panel: Panel, group: Sequence[Trajectory]) -> Iterator[str]:
    if not group:
        yield panel.nothing("not measured")
        return
    timed = [trajectory for trajectory in group if trajectory.phases.defined]
    if not timed:
        yield panel.nothing(_short(group[0].path.why_not))
        return
    for color, name in ((COMPRESSION, "compression"), (FIT, "fit")):
        done = [np.cumsum(getattr(trajectory.phases, name)) for trajectory in timed]
        for curve in done:
            yield polyline(_points(panel, timed[0].phases.u, curve), color, 0.8, 0.3)
        yield polyline(_points(panel, timed[0].phases.u, np.mean(done, axis=0)), color, 2.4)
    yield text(
        panel.left + 6, panel.top + 15, _told(timed, len(group)), size=SMALL, fill=QUIET, halo=True
    )


def _points(panel: Panel, u: Array, curve: Array) -> list[tuple[float, float]]:
    return [panel.at(float(a), min(float(b), 1.0)) for a, b in zip(u, curve, strict=True)]


def _told(timed: Sequence[Trajectory], seeds: int) -> str:
    overlap = np.mean([t.path.overlap for t in timed if t.path.overlap is not None])
    coupling = [t.path.coupling for t in timed if t.path.coupling is not None]
    rho = f", rho {np.mean(coupling):+.2f}" if coupling else ""
    part = "" if len(timed) == seeds else f" ({len(timed)} of {seeds} seeds)"
    return f"O {overlap:.2f}{rho}{part}"


def _short(reason: str) -> str:
    """Why there is nothing to time, in the width of a panel."""
    if "saturated" in reason:
        return "saturated"
    return "next to no " + ("fit" if reason.startswith("total fit") else "compression")
