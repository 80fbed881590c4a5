"""Bounds, flips and entropies of layers: exact numbers, honest names."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from bitlens.report.layer_figures import (
    bound_figure,
    bound_layers_figure,
    entropy_maps,
    flip_maps,
)
from bitlens.report.runs import Comparison
from bitlens.report.standings import gather

Write = Callable[..., Path]
BINARY = [f"layer{b}.{i}.conv" for b in (1, 2, 3) for i in (0, 1)]


@pytest.fixture
def comparison(comparison_folder: Write) -> Comparison:
    return gather(
        [
            comparison_folder(
                {"plain": {0: 0.7, 1: 0.8}, "cmim": {0: 0.71, 1: 0.82}, "float": {0: 0.9}},
                plain={"objective": "none"},
                float={"objective": "none", "method": "float"},
            )
        ]
    )


def table(comparison: Comparison, variant: str, field: str) -> numpy.ndarray:
    runs = comparison.variants[variant]
    per_run = [[[row[field][n] for row in run.metrics] for n in BINARY] for run in runs]
    return numpy.mean(per_run, axis=0)


def test_a_bound_is_drawn_solid_with_its_ceiling_dashed(comparison: Comparison) -> None:
    figure = bound_figure(comparison)
    assert figure is not None
    named = {trace.name: trace for trace in figure.data}
    assert set(named) == {"cmim: bound", "ceiling", "cmim, seed 0", "cmim, seed 1"}
    rows = [[row["bound"] for row in run.metrics] for run in comparison.variants["cmim"]]
    assert list(named["cmim: bound"].y) == pytest.approx(numpy.mean(rows, axis=0).tolist())
    assert named["cmim: bound"].line.dash == "solid"
    assert list(named["ceiling"].y) == pytest.approx([math.log(128)] * 6)
    assert named["ceiling"].line.dash == "dash"


def test_a_score_is_never_called_a_bound(run_folder: Write) -> None:
    figure = bound_figure(gather([run_folder(valid=False)]))
    assert figure is not None
    (score,) = [trace for trace in figure.data if "demo-cmim" in trace.name]
    assert score.name == "demo-cmim: score (not a bound)"
    assert score.line.dash == "dot"
    assert score.marker.symbol == "circle-open"


def test_one_invalid_epoch_makes_the_whole_line_a_score(run_folder: Write) -> None:
    folder = run_folder(epochs=3)
    file = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows[1]["bound_valid"] = False
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    figure = bound_figure(gather([folder]))
    assert figure is not None
    assert "demo-cmim: score (not a bound)" in [trace.name for trace in figure.data]


def test_no_objective_gives_no_bound(run_folder: Write) -> None:
    comparison = gather([run_folder(objective="none")])
    assert bound_figure(comparison) is None
    assert bound_layers_figure(comparison.variants["demo-cmim"]) is None


def test_one_layer_needs_no_figure_of_its_own(run_folder: Write) -> None:
    comparison = gather([run_folder(layers=("stem", "only", "head"))])
    assert bound_figure(comparison) is not None
    assert bound_layers_figure(comparison.variants["demo-cmim"]) is None


def test_every_layer_has_its_line(comparison: Comparison) -> None:
    figure = bound_layers_figure(comparison.variants["cmim"])
    assert figure is not None
    assert [trace.name for trace in figure.data] == [*BINARY, "ceiling"]
    expected = table(comparison, "cmim", "bound_layers")
    for trace, row in zip(figure.data, expected, strict=False):
        assert list(trace.y) == pytest.approx(row.tolist())


def test_flip_maps_hold_the_rates_and_share_their_color(comparison: Comparison) -> None:
    maps = flip_maps(comparison)
    assert list(maps) == ["plain", "cmim"]
    for name, figure in maps.items():
        heat = figure.data[0]
        expected = table(comparison, name, "flip_rate_layers")
        assert list(heat.y) == BINARY
        assert list(heat.x) == [1, 2, 3, 4, 5, 6]
        assert numpy.allclose(heat.customdata, expected)
        assert numpy.allclose(heat.z, numpy.log10(expected))
        assert heat.zmin <= numpy.log10(expected.min())
        assert heat.zmax >= numpy.log10(expected.max())
    first, second = (figure.data[0] for figure in maps.values())
    assert (first.zmin, first.zmax) == (second.zmin, second.zmax)


def test_a_rate_of_zero_is_drawn_lowest_and_told_as_zero(run_folder: Write) -> None:
    folder = run_folder(epochs=2)
    file = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows[1]["flip_rate_layers"] = dict.fromkeys(BINARY, 0.0)
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    heat = flip_maps(gather([folder]))["demo-cmim"].data[0]
    assert all(row[1] == heat.zmin for row in heat.z)
    assert all(row[1] == 0.0 for row in heat.customdata)


def test_nothing_flipped_at_all_still_draws(run_folder: Write) -> None:
    folder = run_folder(epochs=1)
    row = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8"))
    row["flip_rate_layers"] = dict.fromkeys(BINARY, 0.0)
    (folder / "metrics.jsonl").write_text(json.dumps(row), encoding="utf-8")
    heat = flip_maps(gather([folder]))["demo-cmim"].data[0]
    assert heat.zmin < heat.zmax


def test_entropy_maps_hold_bits(comparison: Comparison) -> None:
    maps = entropy_maps(comparison)
    assert list(maps) == ["plain", "cmim"]
    heat = maps["cmim"].data[0]
    assert numpy.allclose(heat.z, table(comparison, "cmim", "code_entropy_layers"))
    assert heat.zmax == 1
    assert heat.zmin <= numpy.min(maps["plain"].data[0].z)
