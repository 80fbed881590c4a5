"""costs.csv of a comparison: one row a method, kept once it has been measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bitlens.training.files import read_rows, write_rows

FILE = "costs.csv"

COLUMNS = (
    "data", "model", "method", "deploy", "why_runtime", "batch_size", "image_size", "channels",
    "float_step_ms", "step_ms", "step_ratio", "step_low", "step_high",
    "cmim_step_ms", "cmim_step_ratio", "cmim_step_low", "cmim_step_high", "step_rounds",
    "float_bytes", "file_bytes", "signs_equal", "packed_ms",
    "torch_ms", "torch_ratio", "torch_low", "torch_high",
    "onnxruntime_ms", "onnxruntime_ratio", "onnxruntime_low", "onnxruntime_high", "rounds",
    "kernel", "threads", "cpu", "torch", "onnxruntime", "bitlens", "commit", "load", "started",
    "run", "recipe_digest",
)  # fmt: skip
"""Milliseconds are medians; `step_ratio` is to the float twin's step, `torch_ratio` and `onnxruntime_ratio`
are the float twin's time by the packed net's, each with its 95 % interval; `float_bytes` is the float
twin's size in float32. What a method that needs the input at run time has no figure for is empty."""

Row = dict[str, str]


def read_costs(folder: Path) -> dict[str, Row]:
    """Rows of a comparison folder by method; empty where nothing has been measured.

    Raises:
        BitlensError: damaged, or no costs.csv of this version.
    """
    path = Path(folder) / FILE
    return {row["method"]: row for row in read_rows(path, COLUMNS)} if path.exists() else {}


def write_costs(folder: Path, rows: Mapping[str, Row]) -> None:
    """Write costs.csv whole, or leave the old one."""
    write_rows(Path(folder) / FILE, COLUMNS, list(rows.values()))
