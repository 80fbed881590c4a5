"""One row a run: what it is, all its metrics, its bytes, and what it was trained on and with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bitlens.studies.dense.comparisons import DenseComparison
from bitlens.training.comparison_table import DENSE_METRICS, run_row

SUMMED = ("parameters", "bytes_latent", "bytes_packed")
"""What is taken from summary.json as it is."""

COLUMNS = (
    "task", "variant", "method", "objective", "weight", "seed", "data", "image_size", "model",
    *DENSE_METRICS, *SUMMED, "epochs", "train_images", "test_images", "seconds", "step_ms", "cpu",
    "threads", "device", "bitlens", "commit", "torch", "recipe_digest", "run",
)  # fmt: skip
"""Metrics as in comparison.csv. `bytes_latent` is the net in float32, `bytes_packed` with one bit a binary
weight; `seconds` is the training's wall-clock time."""


def run_rows(comparisons: Iterable[DenseComparison]) -> list[dict[str, Any]]:
    """Rows of `COLUMNS`, variants in the order of their comparison, the float one first."""
    rows = []
    for comparison in comparisons:
        for variant in comparison.variants:
            for _, net in sorted(variant.nets.items()):
                summary = net.run.summary or {}
                row = run_row(comparison.folder, variant.name, net.run.path)
                row |= {key: summary[key] for key in (*SUMMED, "test_images")}
                row |= {"image_size": net.recipe.image_size, "run": net.label}
                rows.append({column: row[column] for column in COLUMNS})
    return rows
