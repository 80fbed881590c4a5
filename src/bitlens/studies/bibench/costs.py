"""What a comparison's costs.csv says about time and files, as ratios to the float twin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bitlens.errors import BitlensError
from bitlens.studies.method_table.cost_rows import FILE, read_costs

ENGINES = ("torch", "onnxruntime")
"""Engines that run the float twin; the faster one is what a packed net has to beat."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Ratios of one method, float over binary; None where nothing was measured.

    Attributes:
        step: time of a training step, by objective.
        latency: one image, the float twin on its fastest engine against the packed net.
        file: the float twin's float32 bytes against the packed file's.
    """

    step: Mapping[str, float]
    latency: float | None
    file: float | None


def read_cost_ratios(folder: Path) -> dict[str, Cost]:
    """By method; empty where the comparison has no costs.csv.

    Raises:
        BitlensError: the file is damaged or a number in it is not above zero.
    """
    return {method: _cost(Path(folder) / FILE, row) for method, row in read_costs(folder).items()}


def _cost(path: Path, row: Mapping[str, str]) -> Cost:
    def value(column: str) -> float | None:
        if not row[column]:
            return None
        try:
            found = float(row[column])
        except ValueError:
            found = 0.0
        if not found > 0:
            raise BitlensError(
                f"{path}, {row['method']}: {column}={row[column]!r} should be a number above zero; "
                "remove the file and measure again"
            )
        return found

    steps = {"none": value("step_ratio"), "cmim": value("cmim_step_ratio")}
    latencies = [found for name in ENGINES if (found := value(f"{name}_ratio")) is not None]
    stored, real = value("file_bytes"), value("float_bytes")
    return Cost(
        step={name: 1 / found for name, found in steps.items() if found is not None},
        latency=min(latencies, default=None),
        file=None if stored is None or real is None else real / stored,
    )
