"""comparison.csv and comparison.json: what a comparison's folder says about its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitlens.training.files import SCHEMA, write_json, write_rows
from bitlens.training.run import RunFolder, read_json

DENSE_METRICS = (
    "miou", "pixel_accuracy", "class_accuracy",
    "rmse", "abs_rel", "log10", "delta1", "delta2", "delta3",
)  # fmt: skip
"""What a dense task measures: fractions, and `rmse` in metres."""

COLUMNS = (
    "variant", "seed", "task", "data", "model", "method", "plan", "objective", "weight", "distill",
    "distill_weight", "epochs", "train_images", "eval_split", "metric", "test_accuracy",
    "test_accuracy_running", "validation_accuracy", "bound", "ceiling", "code_entropy",
    "flip_rate", "seconds", "step_ms", *DENSE_METRICS,
    "bitlens", "commit", "torch", "cpu", "threads", "device", "recipe_digest", "run",
)  # fmt: skip
"""Columns of comparison.csv: accuracies and flip rates are fractions (`test_accuracy_running` before
batch norm was re-estimated), bounds nats, code entropies bits, times wall-clock. `metric` says which of
the task's metrics the accuracies are."""


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Where a comparison keeps one run."""
    return folder / name / f"seed{seed}"


def write_tables(
    folder: Path,
    names: Sequence[str],
    seeds: Sequence[int],
    baseline: str,
    *,
    trained: Sequence[str] | None = None,
) -> None:
    """Write comparison.csv (finished runs) and comparison.json (all runs, planned ones too).

    `seeds` are planned for `trained`, by default all `names`.
    """
    planned = names if trained is None else trained
    runs = {name: _runs(folder, name, seeds if name in planned else ()) for name in names}
    rows = [
        run_row(folder, name, path)
        for name in names
        for path in runs[name]
        if RunFolder(path).complete
    ]
    write_rows(folder / "comparison.csv", COLUMNS, rows)
    listed = {name: [str(p.relative_to(folder)) for p in paths] for name, paths in runs.items()}
    write_json(
        folder / "comparison.json",
        {"schema": SCHEMA, "baseline": baseline, "variants": list(names), "runs": listed},
    )


def _runs(folder: Path, name: str, planned: Sequence[int]) -> list[Path]:
    seeds = {*seeds_in(folder / name), *planned}
    return [run_folder(folder, name, seed) for seed in sorted(seeds)]


def seeds_in(variant: Path) -> list[int]:
    """Seeds of the runs in a variant's folder, finished or not."""
    names = [file.parent.name for file in variant.glob("seed*/recipe.json")]
    return [int(number) for name in names if (number := name.removeprefix("seed")).isdigit()]


def run_row(folder: Path, name: str, path: Path) -> dict[str, Any]:
    """The row of comparison.csv of a finished run.

    Args:
        folder: of the comparison.
        name: of the variant.
        path: folder of the run.
    """
    run = RunFolder(path)
    recipe, done, env = run.recipe(), read_json(run.summary_file), read_json(run.env_file)
    last = run.metrics()[-1]
    return {
        "variant": name,
        "seed": recipe.seed,
        "task": recipe.task,
        "data": recipe.data,
        "model": recipe.model,
        "method": recipe.method,
        "plan": recipe.plan,
        "objective": recipe.objective,
        "weight": recipe.weight,
        "distill": recipe.distill,
        "distill_weight": recipe.distill_weight,
        "epochs": recipe.epochs,
        "train_images": done["train_images"],
        "eval_split": "validation" if recipe.validation else "test",
        "metric": done.get("metric", "accuracy"),
        "test_accuracy": round(done["test_accuracy"], 6),
        "test_accuracy_running": round(done["test_accuracy_running"], 6),
        "validation_accuracy": _rounded(done["validation_accuracy"]),
        "bound": _rounded(done["bound"]),
        "ceiling": _rounded(done["ceiling"]),
        "code_entropy": _rounded(last["code_entropy"]),
        "flip_rate": _rounded(last["flip_rate"]),
        "seconds": round(done["seconds"], 2),
        "step_ms": round(done["step_ms"], 2),
        **{name: _rounded(done.get("test_metrics", {}).get(name)) for name in DENSE_METRICS},
        **{key: env[key] for key in ("bitlens", "commit", "torch", "cpu", "threads", "device")},
        "recipe_digest": recipe.digest,
        "run": str(path.relative_to(folder)),
    }


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 6)
