"""Overlap and coupling of every kind in every read-out that the claims use, seed by seed."""

from __future__ import annotations

from functools import partial

from bitlens.information.layers import SIGNS
from bitlens.studies.figures.svg import document
from bitlens.studies.information_plane.figures.evidence import (
    Evidence,
    Figure,
    read_by,
    seeds_told,
    steps_told,
)
from bitlens.studies.information_plane.figures.strips import DEEP, ROW, Strip, strip_key, strips
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.measure import BINS
from bitlens.studies.information_plane.medians import LEAST_OVERLAP

WIDE, LEFT, TOP = 1040, 170, 76
READOUTS = (f"{BINS} bins", SIGNS)


def _draw(
    evidence: Evidence,
    *,
    name: str,
    title: str,
    statistic: str,
    span: tuple[float, float],
    mark: float,
    caption: str,
) -> Figure:
    rows = [row for kind in KINDS for readout in READOUTS if (row := _row(evidence, kind, readout))]
    if not rows:
        needs = "Needs nets of a shape that all kinds share."
        return Figure(name=name, title=title, svg=None, caption=needs)
    across = min((WIDE - LEFT) / len(evidence.places), 420)
    drawn = strips(
        rows, evidence.places, statistic, span, left=LEFT, top=TOP, across=across, mark=mark
    )
    shown = [t for t in evidence.compared if t.path.from_end in DEEP and t.path.readout in READOUTS]
    return Figure(
        name=name,
        title=title,
        svg=document(WIDE, TOP + ROW * len(rows) + 30, title, [strip_key(14, 24), *drawn]),
        caption=caption,
        source=f"{seeds_told(t.path for t in shown)}; {steps_told(shown)}",
    )


def _row(evidence: Evidence, kind: str, readout: str) -> Strip | None:
    groups = {
        (place, from_end): evidence.at(place, kind, readout, from_end)
        for place in evidence.places
        for from_end in DEEP
    }
    if not any(groups.values()):
        return None
    return Strip(name=kind, note=read_by(readout), groups=groups)


draw_coupling = partial(
    _draw,
    name="coupling",
    title="Coupling rho by kind of net",
    statistic="coupling",
    span=(-1.05, 1.05),
    mark=0.0,
    caption=(
        "Below 0 a layer fits while it compresses, above 0 it fits while it expands. Compare the rows of "
        "one float kind: the nets are the same, only the read-out differs."
    ),
)
draw_overlap = partial(
    _draw,
    name="overlap",
    title="Overlap O by kind of net",
    statistic="overlap",
    span=(-0.03, 1.0),
    mark=LEAST_OVERLAP,
    caption=(
        "0: fit and compression happen at different checkpoints; 1: hand in hand. The line is the mark "
        "that the claims set. Noise lowers O, so rho is the first of the two to look at."
    ),
)
