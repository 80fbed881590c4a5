"""Is it the start that decides? How spread out the code is at step 0 against the coupling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bitlens.information.layers import SIGNS
from bitlens.studies.figures.panel import Panel, ticks
from bitlens.studies.figures.svg import COLORS, GREY, document, dots, line
from bitlens.studies.information_plane.correlations import PREDICTORS
from bitlens.studies.information_plane.figures.evidence import Evidence, Figure, seeds_told
from bitlens.studies.information_plane.figures.keys import key
from bitlens.studies.information_plane.kinds import KINDS, Kind
from bitlens.studies.information_plane.paths import Path

TITLE = "What the layer is at step 0, and how it goes on"
NAME = "start"
LEAST_PATHS = 3
WIDE, LEFT, TOP, HIGH = 1040, 62, 64, 290
FAMILIES = {
    "float, no norm": COLORS[1],
    "float + norm": COLORS[4],
    "binary weights, tanh": COLORS[3],
    "float weights, sign": COLORS[5],
    "binary": COLORS[0],
    "binary + CMIM": COLORS[2],
}
AXES = {
    "H(T) at step 0 minus at half of the fit": "H(T) at step 0 - at half of the fit, bits",
    "H(T) at step 0 minus at the end": "H(T) at step 0 - at the end, bits",
    "share of balanced units at step 0": "share of units within 10 % of balance at step 0",
}
"""Predictors of claim C6 -> title of the axis."""


def draw(evidence: Evidence) -> Figure:
    """One panel a predictor, one dot a path."""
    known = [
        trajectory.path
        for trajectory in evidence.trajectories
        if trajectory.path.from_end >= 1
        and trajectory.path.readout == SIGNS
        and trajectory.path.coupling is not None
    ]
    pairs = {
        name: [(x, path) for path in known if (x := predict(path)) is not None]
        for name, predict in PREDICTORS.items()
    }
    pairs = {name: found for name, found in pairs.items() if len(found) >= LEAST_PATHS}
    if not pairs:
        needs = f"Needs {LEAST_PATHS} or more paths whose coupling is defined."
        return Figure(name=NAME, title=TITLE, svg=None, caption=needs)
    across = (WIDE - LEFT - 16) / len(PREDICTORS)
    families = [name for name in FAMILIES if any(family(KINDS[p.kind]) == name for p in known)]
    parts = [key(LEFT, 22, [(name, FAMILIES[name]) for name in families])]
    for place, (name, found) in enumerate(pairs.items()):
        panel = _panel(LEFT + place * across, across - 34, [x for x, _ in found])
        parts += [panel.title(_told(evidence, name, len(found)))]
        parts += _axes(panel, AXES[name], first=place == 0)
        parts += _dots(panel, found)
    counts = "; ".join(f"{len(found):,}" for found in pairs.values())
    return Figure(
        name=NAME,
        title=TITLE,
        svg=document(WIDE, TOP + HIGH + 46, TITLE, parts),
        caption=(
            "Each dot is one hidden layer of one net, read by its signs. Were the start what decides, dots "
            "would lie at the upper left and the lower right. The first panel is partly built in, as both "
            "axes look at the way to the fit; the other two are not. Layers of one net are not "
            "independent; the intervals resample seeds."
        ),
        source=f"paths: {counts}; {seeds_told(known)}; read by signs",
    )


def family(kind: Kind) -> str:
    """The family a kind is colored by."""
    if kind.binary:
        return "binary + CMIM" if kind.cmim else "binary"
    if kind.activation == "sign":
        return "float weights, sign"
    if kind.weights == "binary":
        return "binary weights, tanh"
    return "float + norm" if kind.norm else "float, no norm"


def _told(evidence: Evidence, name: str, paths: int) -> str:
    found = evidence.verdict("C6", "all tasks", name)
    if found is None or found.value is None:
        return f"too few paths for a correlation ({paths})"
    interval = "" if found.low is None else f" [{found.low:+.2f}, {found.high:+.2f}]"
    return f"Spearman {found.value:+.2f}{interval}"


def _panel(left: float, width: float, values: Sequence[float]) -> Panel:
    low, high = min(*values, 0.0), max(*values, 1.0)
    margin = 0.04 * (high - low)
    return Panel(
        left=left,
        top=TOP,
        width=width,
        height=HIGH,
        x_range=(low - margin, high + margin),
        y_range=(-1.08, 1.08),
    )


def _axes(panel: Panel, title: str, *, first: bool) -> Iterator[str]:
    at = ticks(-1, 1, most=5)
    yield panel.x_axis(ticks(*panel.x_range))
    yield panel.y_axis(at, None if first else [""] * len(at))
    yield line(panel.at(panel.x_range[0], 0), panel.at(panel.x_range[1], 0), GREY, 1.5)
    yield panel.frame()
    yield panel.x_title(title)
    if first:
        yield panel.y_title("coupling rho", 40)


def _dots(panel: Panel, found: Sequence[tuple[float, Path]]) -> Iterator[str]:
    for name, color in FAMILIES.items():
        points = [
            panel.at(x, path.coupling)
            for x, path in found
            if path.coupling is not None and family(KINDS[path.kind]) == name
        ]
        if points:
            yield dots(points, 2.6, color, 0.5)
