"""Paths of layers through the information plane: each seed's, and their mean."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitlens.report.plane import FLAGS, NUMBERS, OPTIONAL, Plane
from bitlens.report.runs import Comparison, Run
from bitlens.report.series import averaged_runs

MEAN = "mean"
SPREAD = ("entropy", "information")
"""Fields of which a mean also gets its standard deviation over seeds."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """One layer's readings in the order of training, of one seed or averaged over seeds.

    A mean's reading holds every number's mean (None where a seed has none), the standard
    deviations "entropy_sd" and "information_sd", and the worst flag of its seeds.
    """

    layer: str
    view: str
    """MEAN, or the seed as text."""
    readout: str
    split: str
    seeds: int
    steps: list[int]
    epochs: list[float]
    readings: list[Mapping[str, Any]]

    @property
    def told(self) -> str:
        """The view in words."""
        return f"mean of {self.seeds} seeds" if self.view == MEAN else f"seed {self.view}"


def planes(runs: Sequence[Run]) -> dict[int, Plane]:
    """The planes by seed, of the runs in which at least one step was measured."""
    return {run.seed: run.plane for run in runs if run.plane is not None and run.plane.rows}


def averaged_planes(runs: Sequence[Run]) -> dict[int, Plane]:
    """The planes a mean is taken over: those of finished runs, or all while there is none."""
    return planes([run for run in averaged_runs(runs) if run.seed in planes(runs)])


def having_planes(comparison: Comparison) -> dict[str, tuple[Run, ...]]:
    """The variants with a measured plane, each with the runs that have one."""
    found = {
        name: tuple(run for run in runs if run.plane is not None and run.plane.rows)
        for name, runs in comparison.variants.items()
    }
    return {name: runs for name, runs in found.items() if runs}


def layers_of(runs: Sequence[Run]) -> list[str]:
    """The layers of the planes in the order of the net."""
    return list(dict.fromkeys(layer for plane in planes(runs).values() for layer in plane.layers))


def tracks(runs: Sequence[Run]) -> list[Track]:
    """Every layer's track: first the mean, where there are several seeds, then each seed's."""
    averaged, single = averaged_planes(runs), planes(runs)
    found = []
    if len(averaged) > 1:
        found += [
            _mean_track(layer, list(averaged.values()))
            for layer in layers_of(runs)
            if all(layer in plane.layers for plane in averaged.values())
        ]
    for seed, plane in single.items():
        found += [_seed_track(layer, seed, plane) for layer in plane.layers]
    return [track for track in found if track.steps]


def worst(flags: Sequence[str]) -> str:
    """The flag to be believed of several."""
    return max(flags, key=FLAGS.index)


def mean_reading(readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of several seeds' readings at one step."""
    first = readings[0]
    numbers = {key: _mean([one.get(key) for one in readings]) for key in (*NUMBERS, *OPTIONAL)}
    spreads = {f"{key}_sd": _deviation([one[key] for one in readings]) for key in SPREAD}
    return {**first, **numbers, **spreads, "flag": worst([one["flag"] for one in readings])}


def decades(step: int) -> float:
    """Where a step lies on the logarithmic axis of training: log10(1 + step)."""
    return math.log10(1 + step)


def _seed_track(layer: str, seed: int, plane: Plane) -> Track:
    return Track(
        layer=layer,
        view=str(seed),
        readout=plane.readouts[layer],
        split=plane.probe["split"],
        seeds=1,
        steps=plane.steps,
        epochs=[row["epoch"] for row in plane.rows],
        readings=plane.readings(layer),
    )


def _mean_track(layer: str, many: Sequence[Plane]) -> Track:
    by_step = [{row["step"]: row for row in plane.rows} for plane in many]
    steps = sorted(set.intersection(*(set(rows) for rows in by_step)))
    return Track(
        layer=layer,
        view=MEAN,
        readout=many[0].readouts[layer],
        split=many[0].probe["split"],
        seeds=len(many),
        steps=steps,
        epochs=[by_step[0][step]["epoch"] for step in steps],
        readings=[
            mean_reading([rows[step]["layers"][layer] for rows in by_step]) for step in steps
        ],
    )


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if len(present) == len(values) else None


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
