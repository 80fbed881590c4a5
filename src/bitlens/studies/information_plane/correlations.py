"""Claims about what goes with what: C6 (start and coupling) and C8 (compression and accuracy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats

from bitlens.information.layers import SIGNS
from bitlens.information.phases import SATURATED_SHARE
from bitlens.studies.information_plane.intervals import Array, resampled_interval
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.paths import Path
from bitlens.studies.information_plane.selection import by, notes, yes
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict

FEWEST = 10
"""Paths below which a correlation is not worth a row."""

PREDICTORS: dict[str, Callable[[Path], float | None]] = {
    "H(T) at step 0 minus at half of the fit": lambda p: p.entropy_first - p.entropy_half_fit,
    "H(T) at step 0 minus at the end": lambda p: p.entropy_first - p.entropy_last,
    "share of balanced units at step 0": lambda p: p.balanced_first,
}
MEASURES: dict[str, tuple[Callable[[Path], float], int]] = {
    "final I(X;T)": (
        lambda p: p.entropy_last if p.entropy_corrected is None else p.entropy_corrected,
        -1,
    ),
    "compression kappa": (lambda p: p.kappa, 1),
}
"""A measure of the deepest hidden layer, and +1 where more of it is more compressed."""


def spread(paths: Sequence[Path]) -> list[Verdict]:
    """C6, over all layers read by signs, and within one layer of one kind from seed to seed."""
    hidden = [
        path
        for path in paths
        if path.readout == SIGNS and path.from_end >= 1 and path.coupling is not None
    ]
    rows = []
    for name, predict in PREDICTORS.items():
        x = np.array([predict(path) for path in hidden], dtype=float)
        rho = np.array([path.coupling for path in hidden], dtype=float)
        note = ""
        if name.startswith("H(T)"):
            note = f"sign agreement {np.mean((x > 0) == (rho < 0)):.0%}" if len(x) else ""
        rows += _correlated(hidden, x, rho, name, note)
        rows += _correlated(
            hidden,
            _within(hidden, x),
            _within(hidden, rho),
            f"{name}, within a task, shape, kind and layer",
            "ranks within the group of seeds",
        )
    return rows


def _correlated(
    paths: Sequence[Path], x: Array, rho: Array, about: str, note: str
) -> list[Verdict]:
    if len(paths) < FEWEST or _constant(x, rho):
        return []
    low, high = resampled_interval(paths, lambda places: _spearman(x[places], rho[places]))
    return [
        Verdict(
            claim="C6",
            statement=STATEMENTS["C6"],
            task="all tasks",
            about=about,
            n=len(paths),
            statistic="Spearman's correlation with rho",
            value=_spearman(x, rho),
            low=low,
            high=high,
            verdict=yes(high < 0),
            note=notes(note, "interval from resampling seeds"),
        )
    ]


def _within(paths: Sequence[Path], values: Array) -> Array:
    """Centred ranks of the seeds within each group, so that only seeds are compared."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, path in enumerate(paths):
        groups.setdefault((path.task, path.hidden, path.kind, path.layer), []).append(place)
    ranks = np.zeros(len(values))
    for places in groups.values():
        found = scipy.stats.rankdata(values[places])
        ranks[places] = (found - found.mean()) / len(places)
    return ranks


def generalisation(paths: Sequence[Path]) -> list[Verdict]:
    """C8, within each shape and over all shapes of a task."""
    usable = [
        path
        for path in paths
        if path.readout == SIGNS
        and path.from_end == 1
        and KINDS[path.kind].binary
        and path.saturated <= SATURATED_SHARE
    ]
    groups = {(task, "all shapes"): group for (task,), group in by(usable, "task").items()}
    groups |= {(t, h): group for (t, h), group in by(usable, "task", "hidden").items()}
    return [
        row
        for (task, shape), group in sorted(groups.items())
        for name in MEASURES
        for row in _against_accuracy(f"{task} {shape}", group, name)
    ]


def _against_accuracy(task: str, group: Sequence[Path], name: str) -> list[Verdict]:
    measure, direction = MEASURES[name]
    x = np.array([measure(path) for path in group])
    accuracy = np.array([path.test_accuracy for path in group])
    if len(group) < FEWEST or _constant(x, accuracy):
        return []
    tau = _kendall(x, accuracy)
    low, high = resampled_interval(group, lambda at: _kendall(x[at], accuracy[at]))
    verdict = "compressed better" if direction * tau > 0 else "compressed worse"
    return [
        Verdict(
            claim="C8",
            statement=STATEMENTS["C8"],
            task=task,
            about=f"{name} of the deepest hidden layer, binary nets",
            n=len(group),
            statistic="Kendall's tau with test accuracy",
            value=tau,
            low=low,
            high=high,
            verdict="no relation shown" if low <= 0 <= high else verdict,
            note="interval from resampling seeds",
        )
    ]


def _spearman(a: Array, b: Array) -> float:
    return float("nan") if _constant(a, b) else float(scipy.stats.spearmanr(a, b).statistic)


def _kendall(a: Array, b: Array) -> float:
    return float("nan") if _constant(a, b) else float(scipy.stats.kendalltau(a, b).statistic)


def _constant(a: Array, b: Array) -> bool:
    return bool(np.ptp(a) == 0 or np.ptp(b) == 0)
