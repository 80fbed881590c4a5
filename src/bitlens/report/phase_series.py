"""Phase statistics of every layer and seed, measured on the planes that were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bitlens.information.phases import Phases, measure_phases
from bitlens.report.plane import Plane
from bitlens.report.plane_series import averaged_planes, layers_of
from bitlens.report.runs import Run
from bitlens.report.statistics import Summary, summarize

FEWEST = 3
"""Checkpoints below which a path has no phases."""


def phases_of(runs: Sequence[Run]) -> dict[str, dict[int, Phases]]:
    """Phases by layer and seed, of the runs a mean is taken over; empty where too few steps."""
    many = averaged_planes(runs)
    return {
        layer: {
            seed: layer_phases(plane, layer)
            for seed, plane in many.items()
            if layer in plane.layers and len(plane.rows) >= FEWEST
        }
        for layer in layers_of(runs)
    }


def layer_phases(plane: Plane, layer: str) -> Phases:
    """The phases of one layer on its exact values; the intervals say what is too small to time."""
    readings = plane.readings(layer)
    return measure_phases(
        plane.steps,
        [reading["entropy"] for reading in readings],
        [reading["information"] for reading in readings],
        half_x=_half_widths(plane, layer, "entropy"),
        half_y=_half_widths(plane, layer, "information"),
        saturated=[reading["flag"] == "saturated" for reading in readings],
    )


def spread_of(by_seed: Mapping[int, Phases], name: str) -> Summary | None:
    """Mean and deviation of one statistic over the seeds that have it; None where none has."""
    values = [getattr(phases, name) for phases in by_seed.values()]
    present = [value for value in values if value is not None]
    return summarize(present) if present else None


def _half_widths(plane: Plane, layer: str, name: str) -> list[float] | None:
    """Half the intervals' widths; None where one of them is missing."""
    ends = zip(plane.values(layer, f"{name}_low"), plane.values(layer, f"{name}_high"), strict=True)
    widths = [(high - low) / 2 for low, high in ends if low is not None and high is not None]
    return [max(0.0, width) for width in widths] if len(widths) == len(plane.rows) else None
