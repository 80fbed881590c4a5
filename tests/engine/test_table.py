"""The layer table: its bytes are the file's, and its words are those of the graph."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bitlens.engine.file.format import write
from bitlens.engine.graph import Graph
from bitlens.engine.table import table

HOSTILE = Path(__file__).parents[2] / "benchmarks" / "hostile_files.py"
SAMPLE: Graph = runpy.run_path(str(HOSTILE))["sample_graph"]()


def test_the_total_is_the_size_of_the_file(tmp_path: Path) -> None:
    same = np.ones(8, np.float32)
    shared = replace(SAMPLE, tensors={**SAMPLE.tensors, "stem.a": same, "block.scale": same.copy()})
    for graph in (SAMPLE, shared):
        write(graph, tmp_path / "net.bits")
        found = table(graph)
        assert found.file_bytes == (tmp_path / "net.bits").stat().st_size
        assert found.header_bytes > 0
    assert table(shared).rows[1].file_bytes == table(SAMPLE).rows[1].file_bytes - 32


@pytest.mark.parametrize("seed", range(5))
def test_the_total_of_random_nets(
    seed: int, random_net: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = random_net(seed, 8)
    used = {
        name
        for n in graph.nodes
        for name in (n.weights, n.scale, n.zero, *(x for s in n.steps for x in (s.a, s.b)))
    }
    graph = replace(graph, tensors={k: v for k, v in graph.tensors.items() if k in used})
    write(graph, tmp_path / "net.bits")
    assert table(graph).file_bytes == (tmp_path / "net.bits").stat().st_size


def test_rows_say_what_each_layer_is() -> None:
    layers = [
        {"name": "stem", "why": "first layer", "bits": 8, "op": "conv 3x3", "float_bytes": 896},
        {"name": "head", "why": "last layer", "bits": 32, "op": "linear", "float_bytes": 656},
    ]
    found = table(replace(SAMPLE, meta={"layers": layers, "float_bytes": 99_000}))
    rows = {row.name: row for row in found.rows}
    assert list(rows) == ["stem", "block.conv", "unit", "turned", "bytes", "head"]
    assert (rows["stem"].bits, rows["stem"].why, rows["stem"].float_bytes) == (
        8,
        "first layer",
        896,
    )
    assert rows["block.conv"].kernel == "xnor-popcount"
    assert rows["block.conv"].shape == (8, 4, 3, 3)
    assert rows["block.conv"].float_bytes == 4 * 8 * 4 * 9
    assert rows["head"].shape == (4, 40)
    assert found.float_bytes == 99_000
    assert table(SAMPLE).float_bytes == sum(row.float_bytes for row in table(SAMPLE).rows)


def test_hints_name_what_channel_counts_waste() -> None:
    hints = table(SAMPLE).hints
    assert len(hints) == 2
    assert hints[0].startswith("block.conv: 4 input channels a group fill 12% of their words")
    assert "5 output channels a group fill 8% of their blocks" in hints[1]


def test_the_printed_table() -> None:
    lines = str(table(SAMPLE)).splitlines()
    assert lines[0].split() == "layer bits shape kernel why float32 B file B".split()
    assert lines[1].split()[:3] == ["stem", "8", "8x3x3x3"]
    total = next(line for line in lines if line.startswith("total"))
    assert total.split()[-1] == f"{table(SAMPLE).file_bytes:,}"
    assert any(line.startswith("OPs = float + int8 / 8 + binary / 64 = ") for line in lines)
    assert len(table(SAMPLE).as_dicts()) == 6
