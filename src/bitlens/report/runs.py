"""Run folders and comparisons of runs, read from disk and checked; nothing is computed here.

A run folder holds recipe.json, env.json, layers.json, metrics.jsonl (one row per epoch), when the
run has finished summary.json, and where it was measured plane.jsonl. A comparison is a folder whose
comparison.json names the variants and where their runs lie.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError, unknown
from bitlens.report.json_files import SCHEMA, check_schema, demand, read_json, read_json_lines
from bitlens.report.plane import FILE as PLANE_FILE
from bitlens.report.plane import Plane, read_plane

NUMBERS = (
    *("train_loss", "train_accuracy", "eval_loss", "eval_accuracy", "flip_rate", "code_entropy"),
    *("bound", "ceiling", "objective_loss", "distill_loss", "lr", "seconds", "images_per_second"),
)
LAYER_NUMBERS = ("flip_rate_layers", "bound_layers", "code_entropy_layers")
SUMMARY_NUMBERS = (
    *("test_accuracy", "validation_accuracy", "test_loss", "seconds", "step_ms"),
    *("parameters", "bytes_latent", "bytes_packed", "bound", "ceiling"),
)
METRICS = {"accuracy": "accuracy", "miou": "mIoU", "delta1": "δ < 1.25"}
"""How headline metrics are written."""
CSV_NUMBERS = {
    **dict.fromkeys(("seed", "epochs", "train_images", "threads"), int),
    **dict.fromkeys(("weight", "distill_weight", "test_accuracy", "validation_accuracy"), float),
    **dict.fromkeys(("bound", "ceiling", "code_entropy", "flip_rate"), float),
    **dict.fromkeys(("test_accuracy_running", "seconds", "step_ms"), float),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run as its folder tells it; `summary` is None while it is unfinished."""

    path: Path
    recipe: dict[str, Any]
    env: dict[str, Any]
    layers: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    summary: dict[str, Any] | None
    torn: bool
    """Whether the last line of metrics.jsonl was cut off, so that its epoch is not shown."""
    plane: Plane | None = None
    """The information plane, where one was measured."""

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe["name"]

    @property
    def seed(self) -> int:
        """The recipe's seed; runs of two variants are paired by it."""
        return self.recipe["seed"]

    @property
    def complete(self) -> bool:
        """Whether training has finished."""
        return self.summary is not None and self.summary["complete"]

    @property
    def epochs_done(self) -> int:
        """The last epoch with a row in metrics.jsonl, 0 before the first."""
        return self.metrics[-1]["epoch"] if self.metrics else 0

    @property
    def metric(self) -> str:
        """What its accuracy is: the name of its task's headline metric."""
        found = (self.summary or {}).get("metric") or (self.metrics or [{}])[-1].get("metric")
        return METRICS.get(found or "accuracy", "accuracy")

    @property
    def test_accuracy(self) -> float | None:
        """The headline metric on the test split as a fraction; None while unfinished or not measured."""
        return self.measured("test_accuracy")

    @property
    def seconds(self) -> float | None:
        """Training time in seconds; None while unfinished."""
        return self.measured("seconds")

    def measured(self, key: str) -> float | None:
        """A number of the summary, None while the run is unfinished or has none."""
        return self.summary.get(key) if self.summary is not None and self.complete else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants by name, each with its runs, and the one the others are measured against."""

    baseline: str
    variants: dict[str, tuple[Run, ...]]
    absent: dict[str, tuple[str, ...]]
    """Run folders that were announced but have not been started, by variant."""

    @property
    def metric(self) -> str:
        """What the runs' accuracies are; several tasks in one comparison have no common name."""
        names = {run.metric for run in self.runs}
        return names.pop() if len(names) == 1 else "headline metric"

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, variant by variant."""
        return tuple(run for runs in self.variants.values() for run in runs)


def read_run(path: Path) -> Run:
    """Read one run folder.

    Raises:
        BitlensError: when it is not a run folder, a file is damaged, or its schema is newer.
    """
    path = Path(path)
    needed = ("recipe.json", "env.json", "layers.json")
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        reason = f"no {', '.join(missing)} in it" if path.is_dir() else "no such folder"
        raise BitlensError(f"{path} is not a run folder: {reason}")
    summary = _read_summary(path / "summary.json")
    metrics, torn = _read_metrics(path / "metrics.jsonl", finished=summary is not None)
    return Run(
        path=path,
        recipe=_read_recipe(path / "recipe.json"),
        env=_object(path / "env.json"),
        layers=_read_layers(path / "layers.json"),
        metrics=metrics,
        summary=summary,
        torn=torn,
        plane=read_plane(path / PLANE_FILE),
    )


def read_comparison(path: Path) -> Comparison:
    """Read a folder written by a comparison, with every run that has been started.

    Raises:
        BitlensError: when comparison.json is missing, damaged or contradicts itself, or a run is.
    """
    path = Path(path)
    file = path / "comparison.json"
    if not file.is_file():
        raise BitlensError(f"{path} is not a comparison: no comparison.json in it")
    content = check_schema(file, read_json(file))
    names = demand(content, "variants", list, str(file))
    folders = demand(content, "runs", dict, str(file))
    baseline = demand(content, "baseline", str, str(file))
    if baseline not in names:
        raise unknown(f"baseline in {file}", baseline, names)
    variants, absent = {}, {}
    for name in names:
        listed = demand(folders, name, list, f"{file}, runs")
        started = [folder for folder in listed if (path / folder / "recipe.json").is_file()]
        variants[name] = tuple(read_run(path / folder) for folder in started)
        absent[name] = tuple(folder for folder in listed if folder not in started)
        require_distinct_seeds(name, variants[name])
    return Comparison(baseline=baseline, variants=variants, absent=absent)


def require_distinct_seeds(variant: str, runs: Sequence[Run]) -> None:
    """Refuse two runs of one variant with the same seed: pairing would be a matter of luck.

    Raises:
        BitlensError: naming both folders.
    """
    seen: dict[int, Run] = {}
    for run in runs:
        if run.seed in seen:
            raise BitlensError(
                f"two runs of {variant!r} have seed {run.seed}: {seen[run.seed].path} and "
                f"{run.path}; leave one out"
            )
        seen[run.seed] = run


def read_rows(path: Path) -> list[dict[str, str | int | float | None]]:
    """The rows of comparison.csv: counts and measures as numbers, empty cells as None.

    Raises:
        BitlensError: when the file cannot be read or a cell that should be a number is none.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, restkey="", strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BitlensError(f"cannot read {path}: {error}") from error
    return [_typed(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]


def _typed(row: Mapping[str, Any], where: str) -> dict[str, str | int | float | None]:
    if "" in row or None in row.values():
        raise BitlensError(f"{where}: the count of cells differs from the header's")
    typed: dict[str, str | int | float | None] = {}
    for column, cell in row.items():
        kind = CSV_NUMBERS.get(column, str)
        try:
            typed[column] = None if cell == "" else kind(cell)
        except ValueError as error:
            raise BitlensError(f"{where}: {column} should be a number, not {cell!r}") from error
    return typed


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise BitlensError(f"{path} should hold a JSON object, not {type(content).__name__}")
    return content


def _read_recipe(path: Path) -> dict[str, Any]:
    recipe = check_schema(path, read_json(path))
    for key, kind in {"name": str, "seed": int, "data": str, "epochs": int}.items():
        demand(recipe, key, kind, str(path))
    return _in_new_fields(recipe)


def _in_new_fields(recipe: dict[str, Any]) -> dict[str, Any]:
    """An older schema in the fields of the newest; training reads them in the same way.

    Runs of several schemas may lie in one comparison, and seeds of one variant are told by equal recipes.
    """
    new = dict(recipe)
    if recipe["schema"] == 1:
        new = {"start": "", "distill": "none", "distill_weight": 0.0, **new}
        if new.get("objective") in ("logit-kd", "distribution") and "weight" in new:
            new |= {"distill": new["objective"], "distill_weight": new["weight"]}
            new |= {"objective": "none", "weight": 0.0}
    if recipe["schema"] < SCHEMA:
        dense = {"depth_loss": "l1", "depth_weight": 1.0, "balance": "fixed", "bottleneck": 0.0}
        new = {"task": "classify", "dense": dense, **new, "schema": SCHEMA}
        if isinstance(new.get("cmim"), dict):
            new["cmim"] = {"pairs": "image", "anchors": 1024, **new["cmim"]}
    return new


def _read_summary(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    summary = check_schema(path, read_json(path))
    demand(summary, "complete", bool, str(path))
    for key in SUMMARY_NUMBERS:
        if summary.get(key) is not None:
            demand(summary, key, float, str(path))
    return summary


def _read_layers(path: Path) -> list[dict[str, Any]]:
    layers = read_json(path)
    if not isinstance(layers, list):
        raise BitlensError(f"{path} should hold a list of layers, not {type(layers).__name__}")
    kinds = {"name": str, "kind": str, "bits": int, "why": str}
    kinds |= dict.fromkeys(("bytes_latent", "bytes_packed"), int)
    for position, layer in enumerate(layers, start=1):
        if not isinstance(layer, dict):
            raise BitlensError(f"{path}, layer {position}: should be an object, not {layer!r}")
        for key, kind in kinds.items():
            demand(layer, key, kind, f"{path}, layer {position}")
        if layer.get("macs") is not None:
            demand(layer, "macs", int, f"{path}, layer {position}")
    return layers


def _read_metrics(path: Path, *, finished: bool) -> tuple[list[dict[str, Any]], bool]:
    if not path.is_file():
        if finished:
            raise BitlensError(
                f"{path.parent} is not a run folder: it has a summary, no {path.name}"
            )
        return [], False
    rows, torn = read_json_lines(path)
    by_epoch = {}
    for position, row in enumerate(rows, start=1):
        _check_row(row, f"{path}, row {position}")
        # A resumed run writes the epochs after its checkpoint a second time; the later row counts.
        by_epoch[row["epoch"]] = row
    return [by_epoch[epoch] for epoch in sorted(by_epoch)], torn


def _check_row(row: Any, where: str) -> None:
    if not isinstance(row, dict):
        raise BitlensError(f"{where}: should be an object, not {row!r}")
    demand(row, "epoch", int, where)
    for key in NUMBERS:
        if row.get(key) is not None:
            demand(row, key, float, where)
    if row.get("bound_valid") is not None:
        demand(row, "bound_valid", bool, where)
    for key in LAYER_NUMBERS:
        for layer in row.get(key) or {}:
            if row[key][layer] is not None:
                demand(row[key], layer, float, f"{where}, {key}")
