"""Numbers per epoch of the runs of one variant: each seed's, and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bitlens.report.runs import Run


def finite(value: float | None) -> float | None:
    """`value`, or None when there is none or it is infinite or not a number."""
    return value if value is not None and math.isfinite(value) else None


def series(run: Run, field: str) -> dict[int, float | None]:
    """A field of metrics.jsonl by epoch; None where it was not measured or is not finite."""
    return {row["epoch"]: finite(row.get(field)) for row in run.metrics}


def layer_series(run: Run, field: str, layer: str) -> dict[int, float | None]:
    """The same for one layer of a per-layer field such as "flip_rate_layers"."""
    return {row["epoch"]: finite((row.get(field) or {}).get(layer)) for row in run.metrics}


def layers_in(runs: Sequence[Run], field: str) -> list[str]:
    """The layers that a per-layer field has values for, in the order of the net."""
    found = {layer for run in runs for row in run.metrics for layer in row.get(field) or {}}
    ordered = [layer["name"] for run in runs for layer in run.layers if layer["name"] in found]
    return list(dict.fromkeys(ordered)) + sorted(found.difference(ordered))


def averaged_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs a mean is taken over: the finished ones, or all while none has finished."""
    return [run for run in runs if run.complete] or list(runs)


def mean(many: Sequence[dict[int, float | None]]) -> dict[int, float | None]:
    """The mean over seeds at the epochs that all have; None where one of them has no value."""
    if not many:
        return {}
    shared = sorted(set.intersection(*(set(one) for one in many)))
    return {epoch: _average([one[epoch] for one in many]) for epoch in shared}


def empty(values: dict[int, float | None]) -> bool:
    """Whether there is nothing to draw."""
    return all(value is None for value in values.values())


def _average(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if len(present) == len(values) else None
