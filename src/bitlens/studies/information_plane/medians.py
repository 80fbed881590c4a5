"""Claims about the medians over seeds: C1, C2, C4, C5 and C10."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from bitlens.information.layers import SIGNS
from bitlens.studies.information_plane.kinds import FACTORIAL, SURROGATES
from bitlens.studies.information_plane.paths import AS_BINNED, Path
from bitlens.studies.information_plane.selection import (
    Key,
    Seeds,
    deep,
    layer,
    notes,
    place,
    written,
    yes,
)
from bitlens.studies.information_plane.tiers import NARROW
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict

LEAST_OVERLAP = 0.2
"""Overlap that tells "at once" from "one after the other"."""
WIDEST_DIFFERENCE = 0.2
"""Overlaps within this of each other agree."""
NARROW_ACCURACY = 0.87
"""Training accuracy below which a net is too narrow to fit the rule."""

CELLS = tuple(name for (_, _, norm), name in FACTORIAL.items() if norm)
"""The four weight and activation cells with norm."""


def separate(paths: Sequence[Path]) -> list[Verdict]:
    """C1: the tanh net without norm, as published and read by signs."""

    def good(seeds: Seeds) -> bool:
        return (seeds.overlap or 0) < LEAST_OVERLAP and (seeds.coupling or 0) > 0

    return [
        row
        for readout in (AS_BINNED, SIGNS)
        for row in _rows("C1", paths, "dnn-tanh", readout, good)
    ]


def at_once(paths: Sequence[Path]) -> list[Verdict]:
    """C2: the binary nets, by surrogate."""

    def good(seeds: Seeds) -> bool:
        return (seeds.overlap or 0) > LEAST_OVERLAP and (seeds.coupling or 0) < 0

    return [row for kind in SURROGATES for row in _rows("C2", paths, kind, SIGNS, good)]


def matched(paths: Sequence[Path]) -> list[Verdict]:
    """C5: all cells with norm, on one alphabet."""
    return [
        row
        for cell in CELLS
        for row in _rows("C5", paths, cell, SIGNS, lambda seeds: (seeds.coupling or 0) < 0)
    ]


def narrow(paths: Sequence[Path]) -> list[Verdict]:
    """C10: binary nets on the rule whose shape is too narrow to fit it."""
    shape = "-".join(map(str, NARROW))
    chosen = [path for path in paths if (path.task, path.hidden) == ("rule", shape)]
    rows = []
    for kind in SURROGATES:
        for key, group in deep(chosen, kind, SIGNS).items():
            accuracy = float(np.median([path.train_accuracy for path in group]))
            seeds = Seeds.of(group)
            told = f"training accuracy {accuracy:.3f}"
            verdict = "undecided"
            if seeds.coupling is not None and accuracy < NARROW_ACCURACY:
                verdict = yes(seeds.coupling < 0)
            rows.append(_row("C10", key, kind, seeds, verdict, told))
    return rows


def surrogates(paths: Sequence[Path]) -> list[Verdict]:
    """C4: the three surrogates against each other."""
    groups = {kind: deep(paths, kind, SIGNS) for kind in SURROGATES}
    rows = []
    for key in sorted(set.intersection(*(set(group) for group in groups.values()))):
        found = {kind: Seeds.of(group[key]) for kind, group in groups.items()}
        overlaps = [one.overlap for one in found.values() if one.overlap is not None]
        signs = {math.copysign(1, one.coupling) for one in found.values() if one.coupling}
        whole = len(overlaps) == len(SURROGATES)
        widest = max(abs(a - b) for a, b in combinations(overlaps, 2)) if whole else None
        verdict = "undecided"
        if widest is not None:
            verdict = yes(widest < WIDEST_DIFFERENCE and len(signs) == 1)
        medians = (
            f"{kind} O {written(one.overlap)}, rho {written(one.coupling)}"
            for kind, one in found.items()
        )
        rows.append(
            Verdict(
                claim="C4",
                statement=STATEMENTS["C4"],
                task=place(key),
                about=layer(key),
                n=sum(len(one.paths) for one in found.values()),
                statistic="largest difference of median O",
                value=widest,
                verdict=verdict,
                note=notes(*medians, *(one.note for one in found.values())),
            )
        )
    return rows


def _rows(
    claim: str,
    paths: Sequence[Path],
    kind: str,
    readout: str,
    good: Callable[[Seeds], bool],
) -> list[Verdict]:
    rows = []
    for key, group in deep(paths, kind, readout).items():
        seeds = Seeds.of(group)
        verdict = "undecided" if seeds.coupling is None else yes(good(seeds))
        rows.append(_row(claim, key, f"{kind}, {readout}", seeds, verdict))
    return rows


def _row(claim: str, key: Key, what: str, seeds: Seeds, verdict: str, told: str = "") -> Verdict:
    overlap = "" if seeds.overlap is None else f"median O {seeds.overlap:.2f}"
    return Verdict(
        claim=claim,
        statement=STATEMENTS[claim],
        task=place(key),
        about=f"{what}, {layer(key)}",
        n=len(seeds.paths),
        statistic="median rho",
        value=seeds.coupling,
        low=seeds.low,
        high=seeds.high,
        verdict=verdict,
        note=notes(told, overlap, seeds.crossing, seeds.note),
    )
