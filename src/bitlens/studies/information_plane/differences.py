"""Claims about differences of rho between kinds: C3, and what C5 reports beside its medians."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bitlens.information.group_tests import GroupDifference, adjust_holm, compare_groups
from bitlens.information.layers import SIGNS
from bitlens.studies.information_plane.medians import CELLS
from bitlens.studies.information_plane.paths import AS_BINNED, Path
from bitlens.studies.information_plane.selection import (
    Key,
    Seeds,
    deep,
    layer,
    notes,
    place,
    yes,
)
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict

LEVEL = 0.05
Side = tuple[str, str]
"""A kind and the read-out of its layers."""


@dataclass(frozen=True)
class _Pair:
    about: str
    difference: GroupDifference | None
    note: str


def against_tanh(paths: Sequence[Path]) -> list[Verdict]:
    """C3: the binary net against the tanh net, as published and on one alphabet."""
    sides = [(("bnn-ste", SIGNS), ("dnn-tanh", readout)) for readout in (AS_BINNED, SIGNS)]
    return _tested("C3", paths, sides, below=True)


def against_cells(paths: Sequence[Path]) -> list[Verdict]:
    """C5: the binary net against the other cells with norm, on one alphabet."""
    sides = [(("bnn-ste", SIGNS), (cell, SIGNS)) for cell in CELLS if cell != "bnn-ste"]
    return _tested("C5", paths, sides, below=False)


def _tested(
    claim: str, paths: Sequence[Path], sides: Sequence[tuple[Side, Side]], *, below: bool
) -> list[Verdict]:
    """Rows of tested differences, Holm-adjusted over the rows of one task and shape.

    With `below` the difference should be negative and significant, and so few nets that no outcome
    could be significant leave it undecided; without, it is only reported.
    """
    families: dict[str, list[_Pair]] = defaultdict(list)
    for key, pair in _pairs(paths, sides):
        families[place(key)].append(pair)
    rows = []
    for task, family in families.items():
        done = [pair.difference for pair in family if pair.difference is not None]
        adjusted = iter(adjust_holm([d.p for d in done]) if done else [])
        for pair in family:
            p = None if pair.difference is None else float(next(adjusted))
            verdict, told = _decide(pair.difference, p, len(done), below)
            rows.append(_row(claim, task, pair, p, verdict, told))
    return rows


def _pairs(paths: Sequence[Path], sides: Sequence[tuple[Side, Side]]) -> list[tuple[Key, _Pair]]:
    found = []
    for one, other in sides:
        first, second = deep(paths, *one), deep(paths, *other)
        for key in first.keys() & second.keys():
            a, b = Seeds.of(first[key]), Seeds.of(second[key])
            difference = None
            if a.coupling is not None and b.coupling is not None:
                difference = compare_groups(
                    [path.coupling or 0.0 for path in a.paths],
                    [path.coupling or 0.0 for path in b.paths],
                )
            about = f"{one[0]} ({one[1]}) - {other[0]} ({other[1]}), {layer(key)}"
            reasons = (f"{side[0]} {s.note}" for side, s in ((one, a), (other, b)) if s.note)
            found.append((key, _Pair(about, difference, notes(*reasons))))
    return sorted(found, key=lambda row: (row[0][0], row[0][1], -row[0][2], row[1].about))


def _decide(
    difference: GroupDifference | None, p: float | None, tests: int, below: bool
) -> tuple[str, str]:
    if difference is None or p is None:
        return "undecided", ""
    ways = math.comb(difference.size_a + difference.size_b, difference.size_a)
    if 2 / ways * tests >= LEVEL:
        sizes = f"{difference.size_a} against {difference.size_b} nets"
        return "undecided", f"{sizes} cannot reach p < {LEVEL}"
    if below:
        return yes(difference.difference < 0 and p < LEVEL), ""
    return ("differs" if p < LEVEL else "no difference shown"), ""


def _row(claim: str, task: str, pair: _Pair, p: float | None, verdict: str, told: str) -> Verdict:
    found = pair.difference
    return Verdict(
        claim=claim,
        statement=STATEMENTS[claim],
        task=task,
        about=pair.about,
        n=0 if found is None else found.size_a + found.size_b,
        statistic="difference of rho (Hodges-Lehmann)",
        value=None if found is None else found.difference,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        p=p,
        verdict=verdict,
        note=notes(told, pair.note),
    )
