"""Weights x activations x norm, all read by signs: which of the three moves the coupling?"""

from __future__ import annotations

from bitlens.information.layers import SIGNS
from bitlens.studies.figures.svg import document
from bitlens.studies.information_plane.figures.evidence import (
    Evidence,
    Figure,
    seeds_told,
    steps_told,
)
from bitlens.studies.information_plane.figures.strips import DEEP, ROW, Strip, strip_key, strips
from bitlens.studies.information_plane.kinds import FACTORIAL

TITLE = "Coupling rho in the eight cells of the factorial, on one alphabet"
NAME = "factorial"
WIDE, LEFT, TOP = 1040, 230, 76


def draw(evidence: Evidence) -> Figure:
    """One row a cell, one panel a task."""
    cells = sorted(
        FACTORIAL.items(), key=lambda cell: (cell[0][2], cell[0][:2] != ("float", "tanh"))
    )
    rows = []
    for (weights, activation, norm), kind in cells:
        groups = {
            (place, from_end): evidence.at(place, kind, SIGNS, from_end)
            for place in evidence.places
            for from_end in DEEP
        }
        if any(groups.values()):
            name = f"{weights} weights, {activation}, {'norm' if norm else 'no norm'}"
            rows.append(Strip(name=name, note=kind, groups=groups))
    if len(rows) < 2:
        needs = "Needs two or more of the eight cells of weights x activations x norm."
        return Figure(name=NAME, title=TITLE, svg=None, caption=needs)
    across = min((WIDE - LEFT) / len(evidence.places), 420)
    drawn = strips(
        rows, evidence.places, "coupling", (-1.05, 1.05), left=LEFT, top=TOP, across=across
    )
    kinds = set(FACTORIAL.values())
    shown = [t for t in evidence.compared if t.path.kind in kinds and t.path.readout == SIGNS]
    return Figure(
        name=NAME,
        title=TITLE,
        svg=document(WIDE, TOP + ROW * len(rows) + 30, TITLE, [strip_key(14, 24), *drawn]),
        caption=(
            "Every layer is read by one bit a unit, so alphabets match. Weights, activations and batch "
            "norm vary one at a time between rows; what matters shows as a shift between the rows that "
            "differ in it alone."
        ),
        source=f"{seeds_told(t.path for t in shown)}; {steps_told(shown)}; read by signs",
    )
