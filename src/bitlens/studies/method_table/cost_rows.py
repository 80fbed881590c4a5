"""costs.csv of a comparison: one row a method, kept once it has been measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from bitlens.errors import BitlensError
from bitlens.training.files import write_bytes

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


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV as text.

    Raises:
        BitlensError: not readable, or with other columns than `columns`.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BitlensError(f"cannot read {path}: {error}") from error
    found = list(reader.fieldnames or ())
    if found != list(columns):
        changed = sorted({*found} ^ {*columns}) or ["their order"]
        raise BitlensError(
            f"{path}: other columns than this bitlens writes ({', '.join(changed)}); remove it and "
            "let it be made again"
        )
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise BitlensError(
                f"{path}, row {number}: the count of cells differs from the header's"
            )
    return rows


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV with a line of names at the top, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())
