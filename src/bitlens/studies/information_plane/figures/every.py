"""All figures, in the order of the page."""

from __future__ import annotations

from bitlens.studies.information_plane.figures import (
    by_kind,
    estimators,
    factorial,
    generalisation,
    planes,
    regime,
    start,
    timing,
)
from bitlens.studies.information_plane.figures.evidence import Draw

FIGURES: tuple[Draw, ...] = (
    planes.draw,
    timing.draw,
    by_kind.draw_coupling,
    by_kind.draw_overlap,
    factorial.draw,
    start.draw,
    generalisation.draw,
    estimators.draw,
    regime.draw,
)
