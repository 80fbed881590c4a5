"""The method table for a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bitlens.report.quantities import ABSENT
from bitlens.studies.method_table.page import accuracy, difference, setting
from bitlens.studies.method_table.rows import PLAIN_STE, DataTable


def method_table(table: DataTable) -> Table:
    """One line a method: accuracy, gain from CMIM, distance to plain signs, step, file, latency."""
    made = Table(title=Text(setting(table)), box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    made.add_column("method", no_wrap=True)
    for name in (
        "n",
        "accuracy, %",
        "with CMIM",
        "CMIM adds (95 % CI)",
        f"minus {PLAIN_STE} (95 % CI)",
    ):
        made.add_column(name, justify="right", no_wrap=True)
    for name in ("step", "file B", "smaller", "ms"):
        made.add_column(name, justify="right", no_wrap=True)
    for row in table.rows:
        step, size = row.number("step_ratio"), row.number("file_bytes")
        smaller, packed = row.smaller, row.number("packed_ms")
        made.add_row(
            Text(row.method),
            str(len(row.plain)),
            accuracy(row.accuracy),
            accuracy(row.accuracy_cmim),
            difference(row.gain, len(row.plain)),
            difference(row.against_bnn, len(row.plain)),
            f"{step:.2f}" if step else ABSENT,
            f"{size:,.0f}" if size else ABSENT,
            f"{smaller:.1f}x" if smaller else ABSENT,
            f"{packed:.3f}" if packed else ABSENT,
        )
    return made
