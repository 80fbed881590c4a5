"""The information plane of one run: plane.jsonl, read and checked.

The first line tells the probe that everything was measured on, the layers in order and how each is
read; every further line is one measured step with one reading per layer, in bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError, unknown
from bitlens.report.json_files import check_schema, demand, read_json_lines

FILE = "plane.jsonl"
FLAGS = ("reliable", "corrected", "unreliable", "saturated")
"""How far a point may be trusted as a statement about the data's distribution, best first."""
READINGS = ("population", "sample")

COUNTS = ("units", "levels", "samples", "classes")
NUMBERS = ("entropy", "information", "log2_samples", "label_entropy")
OPTIONAL = (
    *("distinct", "entropy_cwj", "information_cwj", "entropy_nsb", "information_nsb"),
    *("entropy_low", "entropy_high", "information_low", "information_high"),
    *("collision_entropy", "singleton_share", "doubling_gain", "permutation_z"),
    *("label_singleton_share", "label_doubling_gain", "information_gain_doubling"),
)
ROUNDING = 1e-6
"""Bits by which a value may pass its ceiling through rounding alone."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """What plane.jsonl tells: the probe, the layers in order, and one row per measured step."""

    path: Path
    probe: dict[str, Any]
    layers: tuple[str, ...]
    readouts: dict[str, str]
    rows: list[dict[str, Any]]
    """Ascending by step, each step once."""
    torn: bool
    """Whether the last line was cut off, so that its step is not shown."""

    @property
    def steps(self) -> list[int]:
        """The measured steps, ascending."""
        return [row["step"] for row in self.rows]

    @property
    def samples(self) -> int:
        """Samples of the probe."""
        return self.probe["samples"]

    def readings(self, layer: str) -> list[Mapping[str, Any]]:
        """The layer's readings, one per measured step."""
        return [row["layers"][layer] for row in self.rows]

    def values(self, layer: str, field: str) -> list[float | None]:
        """One number of the layer's readings, one per measured step."""
        return [reading.get(field) for reading in self.readings(layer)]


def read_plane(path: Path) -> Plane | None:
    """Read one plane.jsonl; None where there is none, or not even its first line is whole.

    A step that is written twice (by a run that was resumed) counts with its later line.

    Raises:
        BitlensError: naming file and line, when a line is damaged or holds an impossible value.
    """
    if not path.is_file():
        return None
    values, torn = read_json_lines(path)
    if not values:
        return None
    places = [f"{path}, line {number}" for number in _numbers_of_lines(path)]
    header = _checked_header(values[0], places[0], path)
    by_step: dict[int, dict[str, Any]] = {}
    for value, where in zip(values[1:], places[1:], strict=False):
        if isinstance(value, dict) and "probe" in value:
            _require_same(header, _checked_header(value, where, path), where)
            continue
        _check_row(value, header["layers"], header["probe"]["samples"], where)
        by_step[value["step"]] = value
    return Plane(
        path=path,
        probe=header["probe"],
        layers=tuple(header["layers"]),
        readouts=header["readouts"],
        rows=[by_step[step] for step in sorted(by_step)],
        torn=torn,
    )


def _numbers_of_lines(path: Path) -> list[int]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [number for number, line in enumerate(lines, start=1) if line.strip()]


def _checked_header(value: Any, where: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BitlensError(f"{where}: should be an object, not {value!r}")
    check_schema(path, value)
    probe = demand(value, "probe", dict, where)
    demand(probe, "split", str, f"{where}, probe")
    if demand(probe, "samples", int, f"{where}, probe") < 1:
        raise BitlensError(f"{where}, probe: samples is {probe['samples']}, at least 1 is needed")
    layers = demand(value, "layers", list, where)
    readouts = demand(value, "readouts", dict, where)
    if not layers or len(set(map(str, layers))) != len(layers):
        raise BitlensError(f"{where}: 'layers' should name layers once each, not {layers!r}")
    for layer in layers:
        if not isinstance(layer, str):
            raise BitlensError(f"{where}: 'layers' should hold names, not {layer!r}")
        demand(readouts, layer, str, f"{where}, readouts")
    return value


def _require_same(first: dict[str, Any], later: dict[str, Any], where: str) -> None:
    for key in ("probe", "layers", "readouts"):
        if first[key] != later[key]:
            raise BitlensError(
                f"{where}: {key!r} is not what the first line says; one file holds one plane, so "
                "remove it and measure again"
            )


def _check_row(row: Any, layers: list[str], samples: int, where: str) -> None:
    if not isinstance(row, dict):
        raise BitlensError(f"{where}: should be an object, not {row!r}")
    if demand(row, "step", int, where) < 0:
        raise BitlensError(f"{where}: step is {row['step']}; steps count from 0")
    _finite(row, "epoch", where)
    readings = demand(row, "layers", dict, where)
    for layer in readings:
        if layer not in layers:
            raise unknown(f"layer in {where}", layer, layers)
    for layer in layers:
        _check_reading(demand(readings, layer, dict, where), samples, f"{where}, {layer}")


def _check_reading(reading: dict[str, Any], samples: int, where: str) -> None:
    for key in COUNTS:
        if demand(reading, key, int, where) < 1:
            raise BitlensError(f"{where}: {key} is {reading[key]}, at least 1 is needed")
    for key in NUMBERS:
        _finite(reading, key, where)
    for key in OPTIONAL:
        if reading.get(key) is not None:
            _finite(reading, key, where)
    for key, choices in (("flag", FLAGS), ("reading", READINGS)):
        if demand(reading, key, str, where) not in choices:
            raise unknown(f"{key} in {where}", reading[key], choices)
    if reading["samples"] != samples:
        raise BitlensError(
            f"{where}: measured on {reading['samples']} samples, the probe has {samples}"
        )
    _check_ceilings(reading, where)


def _check_ceilings(reading: dict[str, Any], where: str) -> None:
    """The plug-in values of N samples cannot be negative or pass log2 N, H(Y) or one another."""
    entropy, information = reading["entropy"], reading["information"]
    least = min(math.log2(reading["samples"]), reading["units"] * math.log2(reading["levels"]))
    for name, value, ceiling, told in (
        ("entropy", entropy, least, "what so many samples and units can show"),
        ("information", information, reading["label_entropy"], "the labels' entropy"),
        ("information", information, entropy, "the layer's entropy"),
    ):
        if not -ROUNDING <= value <= ceiling + ROUNDING:
            raise BitlensError(
                f"{where}: {name} is {value:.6g} bits, outside 0 .. {ceiling:.6g}, {told}; "
                "the line is damaged or was not written by bitlens"
            )


def _finite(content: dict[str, Any], key: str, where: str) -> None:
    value = demand(content, key, float, where)
    if not math.isfinite(value):
        raise BitlensError(f"{where}: {key} is {value}; a finite number is needed")
