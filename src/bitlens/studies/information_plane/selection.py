"""Which paths a claim is about, and what several seeds of one layer say together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitlens.studies.information_plane.intervals import median_interval
from bitlens.studies.information_plane.paths import Path
from bitlens.studies.information_plane.tiers import HIDDEN, NARROW, WIDE

DEEP = (2, 1)
"""The two hidden layers nearest the output, counted from it."""
POPULATION_SEED = 100
"""Seeds from here on belong to the nets of many shapes, not to the comparison of kinds."""

Group = dict[tuple[Any, ...], list[Path]]
Key = tuple[str, str, int]
"""Task, hidden units, layer counted from the end."""


def by(paths: Iterable[Path], *names: str) -> Group:
    """Paths grouped by the values of the named fields."""
    groups: Group = defaultdict(list)
    for path in paths:
        groups[tuple(getattr(path, name) for name in names)].append(path)
    return dict(groups)


def hidden_of(task: str) -> set[str]:
    """The shapes whose deep layers the claims are about."""
    shapes = (WIDE, NARROW) if task == "rule" else (HIDDEN[task],)
    return {"-".join(map(str, shape)) for shape in shapes}


def deep(paths: Iterable[Path], kind: str, readout: str) -> dict[Key, list[Path]]:
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


def place(key: Key) -> str:
    """Task and shape, as a row names them."""
    return f"{key[0]} {key[1]}"


def layer(key: Key) -> str:
    """The layer, as a row names it."""
    return "deepest hidden layer" if key[2] == 1 else "hidden layer before it"


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Several seeds of one layer, those with defined statistics.

    Attributes:
        paths: the seeds whose overlap and coupling are defined.
        overlap, coupling: medians over them, None where not most of all seeds are among them.
        low, high: exact 95 % interval of the median coupling.
        note: why some are not defined; empty when all are.
    """

    paths: tuple[Path, ...]
    overlap: float | None
    coupling: float | None
    low: float | None
    high: float | None
    note: str

    @classmethod
    def of(cls, group: Sequence[Path]) -> Seeds:
        """What all seeds of a layer say together."""
        defined = [p for p in group if p.overlap is not None and p.coupling is not None]
        most = 2 * len(defined) > len(group)
        coupling = [path.coupling for path in defined if path.coupling is not None]
        overlap = [path.overlap for path in defined if path.overlap is not None]
        low, high = (median_interval(coupling) if most else None) or (None, None)
        return cls(
            paths=tuple(defined),
            overlap=float(np.median(overlap)) if most else None,
            coupling=float(np.median(coupling)) if most else None,
            low=low,
            high=high,
            note=_why_not(group, defined),
        )

    @property
    def crossing(self) -> str:
        """A caution where the interval of the coupling reaches 0; empty otherwise."""
        reaches = self.low is not None and self.high is not None and self.low <= 0 <= self.high
        return "interval reaches 0" if reaches else ""


def _why_not(group: Sequence[Path], defined: Sequence[Path]) -> str:
    if len(defined) == len(group):
        return ""
    reasons = [path.why_not for path in group if path.why_not]
    reason = reasons[0] if reasons else "too few points before 90 % of the fit"
    return f"defined in {len(defined)} of {len(group)}: {reason}"


def notes(*parts: str) -> str:
    """The parts that are not empty, as one note."""
    return "; ".join(part for part in parts if part)


def yes(good: bool) -> str:
    """The verdict of a mark that was met, or not."""
    return "holds" if good else "fails"


def written(value: float | None) -> str:
    """A statistic in a note."""
    return "undefined" if value is None else f"{value:+.2f}"
