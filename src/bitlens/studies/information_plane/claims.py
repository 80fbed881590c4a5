"""Ten claims about fitting and compressing, with pass marks that were fixed before any run.

Every claim is judged task by task on the paths of the study; "deep" layers are the two hidden ones
nearest the output. The statistics are those of `bitlens.information.phases`: overlap O and coupling rho.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import scipy.stats

from bitlens.information.group_tests import GroupDifference, adjust_holm, compare_groups
from bitlens.studies.information_plane.intervals import (
    median_interval,
    resampled_interval,
    share_interval,
)
from bitlens.studies.information_plane.kinds import FACTORIAL, KINDS, SURROGATES
from bitlens.studies.information_plane.measure import BINS, SIGNS
from bitlens.studies.information_plane.paths import Path
from bitlens.studies.information_plane.tiers import HIDDEN, NARROW, WIDE
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict

DEEP = (2, 1)
AS_PUBLISHED = f"{BINS} bins"
LEAST_OVERLAP = 0.2
LEVEL = 0.05
NARROW_ACCURACY = 0.87
FEWEST = 10
"""Paths below which a correlation is not worth a row."""


Group = dict[tuple[Any, ...], list[Path]]


def judge(paths: Iterable[Path]) -> list[Verdict]:
    """All verdicts that the paths allow, in the order of the claims (C9 is `saturation.py`'s)."""
    known = list(paths)
    main = [path for path in known if path.seed < 100]
    parts: list[Callable[[], list[Verdict]]] = [
        lambda: _separate(main),
        lambda: _at_once(main),
        lambda: _difference(main),
        lambda: _surrogates(main),
        lambda: _matched(main),
        lambda: _spread(main),
        lambda: _late(known),
        lambda: _generalisation(known),
        lambda: _narrow(main),
    ]
    return [verdict for part in parts for verdict in part()]


def by(paths: Iterable[Path], *names: str) -> Group:
    """Paths grouped by the values of the named fields."""
    groups: Group = defaultdict(list)
    for path in paths:
        groups[tuple(getattr(path, name) for name in names)].append(path)
    return dict(groups)


def values(paths: Iterable[Path], name: str) -> list[float]:
    """The defined values of one statistic."""
    found = (getattr(path, name) for path in paths)
    return [value for value in found if value is not None]


def hidden_of(task: str) -> set[str]:
    """The shapes whose deep layers the claims are about."""
    shapes = (WIDE, NARROW) if task == "rule" else (HIDDEN[task],)
    return {"-".join(map(str, shape)) for shape in shapes}


def _deep(paths: Iterable[Path], kind: str, readout: str) -> dict[tuple[str, str, int], list[Path]]:
    """(task, shape, layer from the end) -> the seeds' paths."""
    chosen = [
        path
        for path in paths
        if path.kind == kind
        and path.readout == readout
        and path.from_end in DEEP
        and path.task in (*HIDDEN, "rule")
        and path.hidden in hidden_of(path.task)
    ]
    return by(chosen, "task", "hidden", "from_end")  # pyrefly: ignore[bad-return]


def _place(key: tuple[str, str, int]) -> str:
    return f"{key[0]} {key[1]}"


def _layer(from_end: int) -> str:
    return "deepest hidden layer" if from_end == 1 else "hidden layer before it"


def _by_medians(
    claim: str, paths: Sequence[Path], kind: str, readout: str, overlapping: bool
) -> list[Verdict]:
    """One row a layer: medians of overlap and coupling against the marks."""
    rows = []
    for key, group in _deep(paths, kind, readout).items():
        defined = [p for p in group if p.overlap is not None and p.coupling is not None]
        coupling = values(defined, "coupling")
        verdict, middle, note = "undecided", None, _why_not(group, defined)
        if 2 * len(defined) > len(group):
            middle, o = float(np.median(coupling)), float(np.median(values(defined, "overlap")))
            at_once, apart = o > LEAST_OVERLAP and middle < 0, o < LEAST_OVERLAP and middle > 0
            verdict = _yes(at_once if overlapping else apart)
            note = f"median O {o:.2f}"
        low, high = median_interval(coupling) or (None, None)
        rows.append(
            Verdict(
                claim=claim,
                statement=STATEMENTS[claim],
                task=_place(key),
                about=f"{kind}, {readout}, {_layer(key[2])}",
                n=len(defined),
                statistic="median rho",
                value=middle,
                low=low,
                high=high,
                verdict=verdict,
                note=note,
            )
        )
    return rows


def _separate(paths: Sequence[Path]) -> list[Verdict]:
    return [
        row
        for readout in (AS_PUBLISHED, SIGNS)
        for row in _by_medians("C1", paths, "dnn-tanh", readout, overlapping=False)
    ]


def _at_once(paths: Sequence[Path]) -> list[Verdict]:
    return [
        row
        for kind in SURROGATES
        for row in _by_medians("C2", paths, kind, SIGNS, overlapping=True)
    ]


def _differences(
    paths: Sequence[Path], pairs: Sequence[tuple[str, str, str, str]], name: str
) -> list[tuple[tuple[str, str, int], str, GroupDifference | None]]:
    found = []
    for kind_a, readout_a, kind_b, readout_b in pairs:
        first, second = _deep(paths, kind_a, readout_a), _deep(paths, kind_b, readout_b)
        for key in first.keys() & second.keys():
            a, b = values(first[key], name), values(second[key], name)
            about = f"{kind_a} ({readout_a}) - {kind_b} ({readout_b}), {_layer(key[2])}"
            found.append((key, about, compare_groups(a, b) if a and b else None))
    return sorted(found, key=lambda row: (row[0][0], row[0][1], -row[0][2], row[1]))


def _difference(paths: Sequence[Path]) -> list[Verdict]:
    pairs = [("bnn-ste", SIGNS, "dnn-tanh", readout) for readout in (AS_PUBLISHED, SIGNS)]
    return _tested("C3", _differences(paths, pairs, "coupling"), "rho", below=True)


def _matched(paths: Sequence[Path]) -> list[Verdict]:
    cells = [name for (_, _, norm), name in FACTORIAL.items() if norm]
    rows = []
    for cell in cells:
        for key, group in _deep(paths, cell, SIGNS).items():
            coupling = values(group, "coupling")
            low, high = median_interval(coupling) or (None, None)
            middle = float(np.median(coupling)) if coupling else None
            enough = 2 * len(coupling) > len(group)
            verdict = "undecided" if middle is None or not enough else _yes(middle < 0)
            rows.append(
                Verdict(
                    claim="C5",
                    statement=STATEMENTS["C5"],
                    task=_place(key),
                    about=f"{cell}, {SIGNS}, {_layer(key[2])}",
                    n=len(coupling),
                    statistic="median rho",
                    value=middle,
                    low=low,
                    high=high,
                    verdict=verdict,
                    note=_why_not(group, [p for p in group if p.coupling is not None]),
                )
            )
    pairs = [("bnn-ste", SIGNS, cell, SIGNS) for cell in cells if cell != "bnn-ste"]
    tested = _tested("C5", _differences(paths, pairs, "coupling"), "rho", below=None)
    return rows + tested


def _tested(
    claim: str,
    found: Sequence[tuple[tuple[str, str, int], str, GroupDifference | None]],
    name: str,
    *,
    below: bool | None,
) -> list[Verdict]:
    """Rows of tested differences, Holm-adjusted over the rows of one task and shape.

    With `below` the difference should be negative and significant, and so few nets that no outcome
    could be significant leave it undecided; with None it is only reported.
    """
    families: dict[str, list[tuple[str, GroupDifference | None]]] = defaultdict(list)
    for key, about, difference in found:
        families[_place(key)].append((about, difference))
    rows = []
    for place, family in families.items():
        done = [difference for _, difference in family if difference is not None]
        adjusted = iter(adjust_holm([d.p for d in done]) if done else [])
        for about, difference in family:
            p = None if difference is None else float(next(adjusted))
            verdict, note = _decide(difference, p, len(done), below)
            rows.append(
                Verdict(
                    claim=claim,
                    statement=STATEMENTS[claim],
                    task=place,
                    about=about,
                    n=0 if difference is None else difference.size_a + difference.size_b,
                    statistic=f"difference of {name} (Hodges-Lehmann)",
                    value=None if difference is None else difference.difference,
                    low=None if difference is None else difference.low,
                    high=None if difference is None else difference.high,
                    p=p,
                    verdict=verdict,
                    note=note,
                )
            )
    return rows


def _decide(
    difference: GroupDifference | None, p: float | None, tests: int, below: bool | None
) -> tuple[str, str]:
    """Verdict and note of one tested difference."""
    if difference is None or p is None:
        return "undecided", "one side is not defined"
    ways = math.comb(difference.size_a + difference.size_b, difference.size_a)
    if 2 / ways * tests >= LEVEL:
        note = f"{difference.size_a} against {difference.size_b} nets cannot reach p < {LEVEL}"
        return "undecided", note
    if below is None:
        return ("differs" if p < LEVEL else "no difference shown"), ""
    return _yes(difference.difference < 0 and p < LEVEL), ""


def _surrogates(paths: Sequence[Path]) -> list[Verdict]:
    groups = {kind: _deep(paths, kind, SIGNS) for kind in SURROGATES}
    rows = []
    for key in sorted(set.intersection(*(set(group) for group in groups.values()))):
        middles = {
            kind: tuple(_median(values(group[key], name)) for name in ("overlap", "coupling"))
            for kind, group in groups.items()
        }
        overlaps = [o for o, _ in middles.values() if o is not None]
        signs = [math.copysign(1, rho) for _, rho in middles.values() if rho is not None]
        whole = len(overlaps) == len(signs) == len(SURROGATES)
        widest = max(abs(a - b) for a, b in combinations(overlaps, 2)) if whole else None
        rows.append(
            Verdict(
                claim="C4",
                statement=STATEMENTS["C4"],
                task=_place(key),
                about=_layer(key[2]),
                n=sum(len(values(group[key], "overlap")) for group in groups.values()),
                statistic="largest difference of median O",
                value=widest,
                verdict="undecided"
                if widest is None
                else _yes(widest < LEAST_OVERLAP and len(set(signs)) == 1),
                note="; ".join(
                    f"{kind} O {_written(o)}, rho {_written(rho)}"
                    for kind, (o, rho) in middles.items()
                ),
            )
        )
    return rows


def _spread(paths: Sequence[Path]) -> list[Verdict]:
    hidden = [path for path in paths if path.from_end >= 1 and path.coupling is not None]
    predictors: dict[str, Callable[[Path], float | None]] = {
        "H(T) at step 0 minus at half of the fit": lambda p: p.entropy_first - p.entropy_half_fit,
        "H(T) at step 0 minus at the end": lambda p: p.entropy_first - p.entropy_last,
        "share of balanced units at step 0": lambda p: p.balanced_first,
    }
    rows = []
    for name, predict in predictors.items():
        used = [p for p in hidden if predict(p) is not None]
        x = np.array([predict(p) for p in used], dtype=float)
        rho = np.array([p.coupling for p in used], dtype=float)
        if len(used) < FEWEST or np.ptp(x) == 0 or np.ptp(rho) == 0:
            continue
        found = scipy.stats.spearmanr(x, rho)
        low, high = resampled_interval(
            used, x, rho, lambda a, b: scipy.stats.spearmanr(a, b).statistic
        )
        note = "interval from resampling whole nets"
        if name.startswith("H(T)"):
            note = f"sign agreement {np.mean((x > 0) == (rho < 0)):.0%}; {note}"
        rows.append(
            Verdict(
                claim="C6",
                statement=STATEMENTS["C6"],
                task="all tasks",
                about=name,
                n=len(used),
                statistic="Spearman's correlation with rho",
                value=float(found.statistic),
                low=low,
                high=high,
                verdict=_yes(high < 0),
                note=note,
            )
        )
    return rows


def _late(paths: Sequence[Path]) -> list[Verdict]:
    rows = []
    usable = [p for p in paths if p.readout == SIGNS and p.from_end >= 1 and p.saturated <= 1 / 3]
    for (task, kind), group in sorted(by(usable, "task", "kind").items()):
        late = [path.late > max(path.half_width, 0.02) for path in group]
        low, high = share_interval(sum(late), len(late))
        rows.append(
            Verdict(
                claim="C7",
                statement=STATEMENTS["C7"],
                task=task,
                about=kind,
                n=len(late),
                statistic="share of layers that compress in the last half of log steps",
                value=sum(late) / len(late),
                low=low,
                high=high,
                verdict=_yes(sum(late) / len(late) > 0.5),
                note=f"median {np.median([path.late for path in group]):.2f} bit",
            )
        )
    return rows


def _generalisation(paths: Sequence[Path]) -> list[Verdict]:
    rows = []
    usable = [
        p
        for p in paths
        if p.readout == SIGNS and p.from_end == 1 and KINDS[p.kind].binary and p.saturated <= 1 / 3
    ]
    measures: dict[str, Callable[[Path], float]] = {
        "final I(X;T) (Chao-Wang-Jost)": lambda p: (
            p.entropy_last if p.entropy_corrected is None else p.entropy_corrected
        ),
        "compression kappa": lambda p: p.kappa,
    }
    groups = {(task, "all shapes"): group for (task,), group in by(usable, "task").items()}
    groups |= {(t, h): group for (t, h), group in by(usable, "task", "hidden").items()}
    for (task, shape), group in sorted(groups.items()):
        accuracy = np.array([path.test_accuracy for path in group])
        for name, measure in measures.items():
            x = np.array([measure(path) for path in group])
            if len(group) < FEWEST or np.ptp(x) == 0 or np.ptp(accuracy) == 0:
                continue
            found = scipy.stats.kendalltau(x, accuracy)
            low, high = resampled_interval(
                group, x, accuracy, lambda a, b: scipy.stats.kendalltau(a, b).statistic
            )
            crossing = low <= 0 <= high
            rows.append(
                Verdict(
                    claim="C8",
                    statement=STATEMENTS["C8"],
                    task=f"{task} {shape}",
                    about=f"{name} of the deepest hidden layer, binary nets",
                    n=len(group),
                    statistic="Kendall's tau with test accuracy",
                    value=float(found.statistic),
                    low=low,
                    high=high,
                    verdict="no relation shown"
                    if crossing
                    else ("positive" if found.statistic > 0 else "negative"),
                )
            )
    return rows


def _narrow(paths: Sequence[Path]) -> list[Verdict]:
    shape = "-".join(map(str, NARROW))
    rows = []
    for kind in SURROGATES:
        for key, group in _deep(paths, kind, SIGNS).items():
            if key[:2] != ("rule", shape):
                continue
            accuracy = float(np.median([path.train_accuracy for path in group]))
            rho, overlap = _median(values(group, "coupling")), _median(values(group, "overlap"))
            low, high = median_interval(values(group, "coupling")) or (None, None)
            narrow = accuracy < NARROW_ACCURACY
            rows.append(
                Verdict(
                    claim="C10",
                    statement=STATEMENTS["C10"],
                    task=_place(key),
                    about=f"{kind}, {_layer(key[2])}",
                    n=len(values(group, "coupling")),
                    statistic="median rho",
                    value=rho,
                    low=low,
                    high=high,
                    verdict="undecided" if rho is None or not narrow else _yes(rho < 0),
                    note=f"training accuracy {accuracy:.3f}, median O {_written(overlap)}",
                )
            )
    return rows


def _why_not(group: Sequence[Path], defined: Sequence[Path]) -> str:
    """Why some paths of a group have no statistics; empty where all have."""
    if len(defined) == len(group):
        return ""
    reasons = [path.why_not for path in group if path.why_not]
    reason = reasons[0] if reasons else "too few points before 90 % of the fit"
    return f"defined in {len(defined)} of {len(group)}: {reason}"


def _yes(good: bool) -> str:
    return "holds" if good else "fails"


def _median(found: Sequence[float]) -> float | None:
    return float(np.median(found)) if found else None


def _written(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.2f}"
