"""C7: is there compression late in training?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitlens.information.layers import SIGNS
from bitlens.information.phases import SATURATED_SHARE, SMALLEST
from bitlens.studies.information_plane.intervals import resampled_interval
from bitlens.studies.information_plane.paths import Path
from bitlens.studies.information_plane.selection import POPULATION_SEED, by, yes
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict


def late(paths: Sequence[Path]) -> list[Verdict]:
    """Shares of layers whose I(X;T) fell over the last half of log steps, by task and kind.

    What counts is the net fall; the largest drawdown, with which the claim was first written, is
    passed by jitter around a constant as well and stands in the note.
    """
    usable = [
        path
        for path in paths
        if path.readout == SIGNS and path.from_end >= 1 and path.saturated <= SATURATED_SHARE
    ]
    main = [path for path in usable if path.seed < POPULATION_SEED]
    rest = [path for path in usable if path.seed >= POPULATION_SEED]
    rows = [_row(t, kind, group) for (t, kind), group in sorted(by(main, "task", "kind").items())]
    shapes = "binary nets of many shapes"
    return rows + [_row(task, shapes, group) for (task,), group in sorted(by(rest, "task").items())]


def _row(task: str, about: str, group: Sequence[Path]) -> Verdict:
    bar = np.array([max(path.half_width, SMALLEST) for path in group])
    fall = np.array([path.late_fall for path in group])
    fell, rose = (fall > bar).astype(float), (fall < -bar).astype(float)
    drawn = np.mean([path.late_drawdown for path in group] > bar)
    low, high = resampled_interval(group, lambda places: float(fell[places].mean()))
    return Verdict(
        claim="C7",
        statement=STATEMENTS["C7"],
        task=task,
        about=about,
        n=len(group),
        statistic="share of layers whose I(X;T) fell in the last half of log steps",
        value=float(fell.mean()),
        low=low,
        high=high,
        verdict=yes(fell.mean() > 0.5),
        note=f"rose in {rose.mean():.0%}, median fall {np.median(fall):.2f} bit; drawdown in {drawn:.0%}",
    )
