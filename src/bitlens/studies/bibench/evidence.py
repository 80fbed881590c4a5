"""What scores are made of: pairs of nets, their accuracies, their costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bitlens.data.corruptions.table import CORRUPTIONS, SEVERITIES
from bitlens.errors import BitlensError
from bitlens.studies.bibench import tracks
from bitlens.studies.bibench.complexity import Complexity
from bitlens.studies.bibench.costs import Cost
from bitlens.studies.bibench.rows import CLEAN
from bitlens.studies.bibench.twins import Cell, Pair, Trained

Accuracy = Callable[[Trained, str, int], float]
"""Gives a net's accuracy under a corruption at a severity, a fraction."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that scores are made of.

    Attributes:
        pairs: binary runs with their float twins.
        accuracy: on the judged test images.
        images: the number of those images, by data set and size.
        complexity: by recipe digest.
        costs: by comparison folder and method, where steps and packed nets were timed side by side.
    """

    pairs: Sequence[Pair]
    accuracy: Accuracy
    images: Mapping[tuple[str, int], int]
    complexity: Mapping[str, Complexity]
    costs: Mapping[tuple[Path, str], Cost] = field(default_factory=dict)

    def cost(self, pair: Pair) -> Cost | None:
        """What was measured of a pair's method, in the pair's own comparison."""
        return self.costs.get((pair.binary.folder, pair.binary.recipe.method))


Task = tuple[str, int]
"""A data set and the side of its images in pixels; 0 is the data's own."""

Ratios = dict[tuple[tuple[str, int], str], list[float]]
"""By data set and corruption, one number per pair."""


def task_names(tasks: Iterable[Task]) -> dict[Task, str]:
    """The data set of each task; with its size where the set is there in several."""
    wanted = list(dict.fromkeys(tasks))
    sets = [data for data, _ in wanted]
    return {
        (data, size): data
        if sets.count(data) == 1
        else f"{data} ({f'{size} pixels' if size else 'own size'})"
        for data, size in wanted
    }


def common_seeds(pairs: Sequence[Pair]) -> list[int]:
    """Seeds that a variant has wherever it was trained at all."""
    cells: dict[Cell, set[int]] = {}
    for pair in pairs:
        cells.setdefault(pair.cell, set()).add(pair.seed)
    return sorted(set.intersection(*cells.values()))


def corruption_ratios(evidence: Evidence, pairs: Sequence[Pair], *, clean: bool) -> Ratios:
    """G_c by data set and corruption, one per pair; divided by A_bin / A_fp on clean images on demand."""
    ratios: Ratios = {}
    for pair in pairs:
        unit = 1.0
        if clean:
            unit = _accuracy(evidence, pair.binary, CLEAN, 0) / _real(evidence, pair, CLEAN, 0)
        for name in CORRUPTIONS:
            binary = [_accuracy(evidence, pair.binary, name, s) for s in SEVERITIES]
            real = [_real(evidence, pair, name, s) for s in SEVERITIES]
            found = tracks.corrupted(binary, real) / unit
            ratios.setdefault((pair.cell.task, name), []).append(found)
    return ratios


def _accuracy(evidence: Evidence, net: Trained, corruption: str, severity: int) -> float:
    return evidence.accuracy(net, corruption, severity)


def _real(evidence: Evidence, pair: Pair, corruption: str, severity: int) -> float:
    found = evidence.accuracy(pair.twin, corruption, severity)
    if found == 0:
        raise BitlensError(
            f"{pair.twin.run.path}: this float net is never right under {corruption} {severity}, so "
            "nothing can be measured against it; judge more images (--images), or train it longer"
        )
    return found
