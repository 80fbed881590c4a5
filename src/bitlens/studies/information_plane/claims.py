"""Ten claims about fitting and compressing, with pass marks that were fixed before any run.

Three things came after a look at results: C7 judges the net fall (its first mark, the largest drawdown, is
passed by jitter), a verdict needs most of the seeds, and differences that too few nets could never show are
left undecided.

Every claim is judged task by task on the paths of the study; "deep" layers are the two hidden ones
nearest the output. The statistics are those of `bitlens.information.phases`: overlap O and coupling rho.
"""

from __future__ import annotations

from collections.abc import Iterable

from bitlens.studies.information_plane.correlations import generalisation, spread
from bitlens.studies.information_plane.differences import against_cells, against_tanh
from bitlens.studies.information_plane.late import late
from bitlens.studies.information_plane.medians import (
    at_once,
    matched,
    narrow,
    separate,
    surrogates,
)
from bitlens.studies.information_plane.paths import Path
from bitlens.studies.information_plane.selection import POPULATION_SEED
from bitlens.studies.information_plane.verdict import Verdict


def judge(paths: Iterable[Path]) -> list[Verdict]:
    """All verdicts that the paths allow, in the order of the claims (C9 is `saturation.py`'s)."""
    known = list(paths)
    main = [path for path in known if path.seed < POPULATION_SEED]
    return [
        *separate(main),
        *at_once(main),
        *against_tanh(main),
        *surrogates(main),
        *matched(main),
        *against_cells(main),
        *spread(main),
        *late(known),
        *generalisation(known),
        *narrow(main),
    ]
