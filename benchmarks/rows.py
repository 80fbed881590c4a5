"""How a benchmark keeps its rows: under those of earlier runs, with a line of names at the top."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from bitlens.engine.bench.timing import Timing


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Add rows to a CSV, made with its header if it is not there."""
    fresh = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerows(rows)


def timing_row(timing: Timing) -> dict[str, object]:
    """Columns of a timing."""
    return {
        "milliseconds": round(timing.milliseconds, 3),
        "p10": round(timing.p10, 3),
        "p90": round(timing.p90, 3),
        "slower_than_packed": round(timing.ratio, 2),
        "low": round(timing.low, 2),
        "high": round(timing.high, 2),
        "rounds": timing.rounds,
    }
