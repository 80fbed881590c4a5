"""Do compressed codes generalise? Final I(X;T) against test accuracy of binary nets of many shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bitlens.information.layers import SIGNS
from bitlens.information.phases import SATURATED_SHARE
from bitlens.studies.figures.panel import Panel, ticks
from bitlens.studies.figures.svg import COLORS, SMALL, document, dot, text
from bitlens.studies.information_plane.figures.evidence import Evidence, Figure
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.paths import Path
from bitlens.studies.information_plane.selection import by
from bitlens.studies.information_plane.tasks import TASKS

TITLE = "Compression against generalisation of binary nets"
NAME = "generalisation"
LEAST_NETS = 3
WIDE, LEFT, TOP, HIGH, AWAY = 1040, 62, 58, 240, 64
BELOW, ENTRY = 56, 17


def draw(evidence: Evidence) -> Figure:
    """One panel a task, one dot a net, colored by shape."""
    usable = [
        path
        for path in evidence.paths
        if path.readout == SIGNS
        and path.from_end == 1
        and KINDS[path.kind].binary
        and path.saturated <= SATURATED_SHARE
    ]
    groups = {task: group for (task,), group in by(usable, "task").items()}
    tasks = [task for task in TASKS if len(groups.get(task, ())) >= LEAST_NETS]
    if not tasks:
        needs = f"Needs {LEAST_NETS} or more binary nets on a task."
        return Figure(name=NAME, title=TITLE, svg=None, caption=needs)
    columns = 2 if len(tasks) == 4 else min(len(tasks), 3)
    across = min((WIDE - LEFT + AWAY - 16) / columns, 500)
    parts: list[str] = []
    top = TOP
    for first in range(0, len(tasks), columns):
        below = top + HIGH + BELOW
        for place, task in enumerate(tasks[first : first + columns]):
            panel = _panel(LEFT + place * across, top, across - AWAY, groups[task])
            shapes = _shapes(groups[task])
            parts += [panel.title(task, _tau(evidence, task)), *_axes(panel, first=place == 0)]
            parts += [*_dots(panel, groups[task], shapes), *_legend(panel, shapes)]
            below = max(below, top + HIGH + BELOW + ENTRY * len(shapes))
        top = below + TOP
    nets = ", ".join(f"{task} {len(groups[task])}" for task in tasks)
    return Figure(
        name=NAME,
        title=TITLE,
        svg=document(max(LEFT + across * columns - AWAY + 16, 560), top - TOP, TITLE, parts),
        caption=(
            "Each dot is one binary net at the end of training; shapes, surrogates, weight decay and seeds "
            "differ. Were compression to help, dots would fall from left to right, and tau would be "
            "below 0 on every task and within every shape (the table has those). Shape drives both "
            "axes, so tau over all shapes mixes the two."
        ),
        source=f"nets: {nets}; deepest hidden layer, read by signs, Chao-Wang-Jost where it is defined",
    )


def _tau(evidence: Evidence, task: str) -> str:
    found = evidence.verdict("C8", f"{task} all shapes", "final I(X;T)")
    if found is None or found.value is None:
        return "too few nets for tau"
    interval = "" if found.low is None else f" [{found.low:+.2f}, {found.high:+.2f}]"
    return f"tau {found.value:+.2f}{interval}, {found.n} nets"


def _entropy(path: Path) -> float:
    return path.entropy_last if path.entropy_corrected is None else path.entropy_corrected


def _legend(panel: Panel, shapes: Mapping[str, str]) -> Iterator[str]:
    for row, (shape, color) in enumerate(shapes.items()):
        y = panel.bottom + BELOW + ENTRY * row
        yield dot((panel.left + 5, y - 4), 4.5, color)
        yield text(panel.left + 14, y, shape, size=SMALL)


def _panel(left: float, top: float, width: float, group: Sequence[Path]) -> Panel:
    return Panel(
        left=left,
        top=top,
        width=width,
        height=HIGH,
        x_range=_padded([_entropy(path) for path in group]),
        y_range=_padded([100 * path.test_accuracy for path in group]),
    )


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _axes(panel: Panel, *, first: bool) -> Iterator[str]:
    yield panel.x_axis(ticks(*panel.x_range, most=8))
    yield panel.y_axis(ticks(*panel.y_range))
    yield panel.frame()
    yield panel.x_title("final I(X;T), bits")
    if first:
        yield panel.y_title("test accuracy, %", 42)


def _shapes(group: Sequence[Path]) -> Mapping[str, str]:
    names = sorted(
        {path.hidden for path in group}, key=lambda name: [int(n) for n in name.split("-")]
    )
    return {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}


def _dots(panel: Panel, group: Sequence[Path], shapes: Mapping[str, str]) -> Iterator[str]:
    for path in group:
        at = panel.at(_entropy(path), 100 * path.test_accuracy)
        tip = f"{path.kind} {path.hidden}, decay {path.weight_decay:g}, seed {path.seed}"
        yield dot(at, 3.2, shapes[path.hidden], opacity=0.65, tip=tip)
