"""The terminal's tables, read as a person reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bitlens.report.standings import gather
from bitlens.report.terminal import comparison_table, layer_table

Write = Callable[..., Path]


def printed(table: Table) -> str:
    console = Console(file=StringIO(), width=140)
    console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def line_with(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


def test_layers_and_their_totals(run_folder: Write) -> None:
    rows = json.loads((run_folder() / "layers.json").read_text(encoding="utf-8"))
    text = printed(layer_table(rows))
    assert "6 of 8 layers in 1 bit" in text
    assert "1-bit" in line_with(text, "layer1.0.conv")
    assert "binary (bireal)" in line_with(text, "layer1.0.conv")
    assert "float" in line_with(text, "stem")
    latent, packed = (sum(row[key] for row in rows) for key in ("bytes_latent", "bytes_packed"))
    total = line_with(text, "total")
    assert f"{latent / 1e3:.1f} kB" in total
    assert f"{packed / 1e3:.1f} kB" in total
    assert f"{latent / packed:.1f}x" in total


def test_macs_that_nobody_counted_are_left_open(run_folder: Write) -> None:
    rows = json.loads((run_folder() / "layers.json").read_text(encoding="utf-8"))
    counted = [{**row, "macs": None} for row in rows[:-1]] + [{**rows[-1], "macs": 2_560}]
    text = printed(layer_table(counted))
    assert "2.6 k" in line_with(text, "total")
    assert " - " in line_with(text, "stem")


def test_a_layer_name_is_not_console_markup(run_folder: Write) -> None:
    rows = json.loads((run_folder() / "layers.json").read_text(encoding="utf-8"))
    rows[0]["name"] = "[red]stem[/red]"
    assert "[red]stem[/red]" in printed(layer_table(rows))


def test_comparison_shows_interval_and_unfinished(comparison_folder: Write) -> None:
    folder = comparison_folder(
        {"plain": {0: 0.70, 1: 0.80, 2: 0.81}, "cmim": {0: 0.71, 1: 0.82, 2: 0.84}},
        announced={"cmim": ["cmim/seed3"]},
    )
    text = printed(comparison_table(gather([folder])))
    assert "77.00 ± 6.08 %" in line_with(text, "baseline")
    # Differences 1, 2, 3 points: mean 2, sd 1, half width t(0.975, 2) / sqrt(3) = 2.484.
    assert "+2.00 (-0.48 .. +4.48)" in line_with(text, "cmim")
    assert line_with(text, "+2.00").rstrip(" │").endswith("1")
    assert "n = 3 seeds, 6 epochs, fashion-mnist-mini, test split" in text


def test_comparison_of_one_seed_and_of_none(comparison_folder: Write) -> None:
    folder = comparison_folder(
        {"plain": {0: 0.70}, "cmim": {0: 0.71}, "late": {0: 0.7}}, late={"done": 1}
    )
    text = printed(comparison_table(gather([folder])))
    assert "+1.00 (no interval)" in line_with(text, "cmim")
    assert "no common seed" in line_with(text, "late")
