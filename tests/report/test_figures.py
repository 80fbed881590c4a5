"""The figures hold exactly the numbers of the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import plotly.graph_objects as go
import pytest

from bitlens.report.figures import (
    ENTROPY,
    FLIPS,
    LOSS,
    Measure,
    accuracy_figure,
    curve_figure,
    headline,
    interval_figure,
)
from bitlens.report.runs import Comparison
from bitlens.report.standings import gather, standings
from bitlens.report.style import BASELINE, variant_colors

Write = Callable[..., Path]
SEEDS = {"plain": {0: 0.70, 1: 0.80, 2: 0.81}, "cmim": {0: 0.71, 1: 0.82, 2: 0.84}}


def traces(figure: go.Figure | None, name: str) -> list[Any]:
    assert figure is not None
    return [trace for trace in figure.data if trace.name == name]


def trace(figure: go.Figure | None, name: str) -> Any:
    (found,) = traces(figure, name)
    return found


def column(comparison: Comparison, variant: str, field: str) -> list[list[float]]:
    return [[row[field] for row in run.metrics] for run in comparison.variants[variant]]


def test_interval_is_that_of_the_paired_difference(comparison_folder: Write) -> None:
    comparison = gather([comparison_folder(SEEDS)])
    found = standings(comparison)
    figure = interval_figure(comparison, found)
    mark = trace(figure, "cmim")
    difference = found[1].difference
    assert difference is not None
    assert difference.low is not None
    assert list(mark.x) == [100 * difference.mean]
    assert mark.x[0] - mark.error_x.array[0] == pytest.approx(100 * difference.low)
    dots = trace(figure, "single seeds")
    assert list(dots.x) == pytest.approx([1, 2, 3])
    assert list(dots.customdata) == [0, 1, 2]
    assert figure is not None
    assert figure.layout.shapes[0].x0 == figure.layout.shapes[0].x1 == 0
    low, high = figure.layout.xaxis.range
    assert low < min(0, 100 * difference.low)
    assert high > 3


def test_one_seed_is_hollow_and_has_no_bar(comparison_folder: Write) -> None:
    comparison = gather([comparison_folder({"plain": {0: 0.7}, "cmim": {0: 0.71}})])
    mark = trace(interval_figure(comparison, standings(comparison)), "cmim")
    assert mark.marker.symbol == "diamond-open"
    assert mark.error_x.array is None


def test_nothing_to_compare_gives_no_figure(run_folder: Write) -> None:
    comparison = gather([run_folder()])
    assert interval_figure(comparison, standings(comparison)) is None
    assert accuracy_figure(comparison) is None


def test_accuracy_dots_and_means(comparison_folder: Write) -> None:
    figure = accuracy_figure(gather([comparison_folder(SEEDS)]))
    dots = trace(figure, "cmim")
    assert list(dots.x) == [0.71, 0.82, 0.84]
    assert len(set(dots.y)) == 3
    assert list(trace(figure, "cmim, mean").x) == pytest.approx([0.79])


@pytest.mark.parametrize("measure", [headline("accuracy"), LOSS, FLIPS, ENTROPY])
def test_curves_are_the_rows_of_the_files(comparison_folder: Write, measure: Measure) -> None:
    comparison = gather([comparison_folder(SEEDS, plain={"objective": "none"})])
    figure = curve_figure(comparison, measure)
    rows = column(comparison, "cmim", measure.field)
    for seed in range(3):
        thin = trace(figure, f"cmim, seed {seed}")
        assert list(thin.x) == [1, 2, 3, 4, 5, 6]
        assert list(thin.y) == rows[seed]
        assert thin.showlegend is False
    thick = trace(figure, "cmim")
    assert list(thick.y) == pytest.approx(numpy.mean(rows, axis=0).tolist())
    assert thick.line.width > thin.line.width
    if measure.train is not None:
        train = trace(figure, "plain, training, mean")
        expected = numpy.mean(column(comparison, "plain", measure.train), axis=0)
        assert list(train.y) == pytest.approx(expected.tolist())
        assert train.line.dash == "dash"


def test_a_training_loss_with_an_objective_in_it_is_not_drawn(comparison_folder: Write) -> None:
    comparison = gather([comparison_folder(SEEDS, plain={"objective": "none"})])
    dashed = "{}, training, mean"
    assert traces(curve_figure(comparison, LOSS), dashed.format("plain"))
    assert not traces(curve_figure(comparison, LOSS), dashed.format("cmim"))
    assert traces(curve_figure(comparison, headline("accuracy")), dashed.format("cmim"))


def test_an_unfinished_run_is_drawn_and_left_out_of_the_mean(
    run_folder: Write, comparison_folder: Write
) -> None:
    folders = [
        run_folder("s0", seed=0, accuracy=0.8),
        run_folder("s1", seed=1, accuracy=0.2, done=2),
    ]
    comparison = gather(folders)
    figure = curve_figure(comparison, headline("accuracy"))
    late = trace(figure, "demo-cmim, seed 1, unfinished")
    assert list(late.x) == [1, 2]
    assert late.line.dash == "dot"
    assert list(trace(figure, "demo-cmim").y) == column(comparison, "demo-cmim", "eval_accuracy")[0]


def test_a_float_net_has_no_flips_and_no_entropy(run_folder: Write) -> None:
    comparison = gather([run_folder(method="float", objective="none")])
    assert curve_figure(comparison, FLIPS) is None
    assert curve_figure(comparison, ENTROPY) is None
    assert curve_figure(comparison, headline("accuracy")) is not None


def test_a_loss_that_is_not_finite_leaves_a_gap(run_folder: Write) -> None:
    folder = run_folder(epochs=3)
    file = folder / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[1] = '{"epoch": 2, "eval_loss": NaN, "train_loss": Infinity}'
    file.write_text("\n".join(lines), encoding="utf-8")
    drawn = trace(curve_figure(gather([folder]), LOSS), "demo-cmim")
    assert drawn.y[1] is None
    assert None not in (drawn.y[0], drawn.y[2])


def test_the_baseline_alone_is_grey(comparison_folder: Write) -> None:
    many = {name: {0: 0.5} for name in ("plain", *"abcdefgh")}
    colors = variant_colors(gather([comparison_folder(many)]))
    assert [name for name, color in colors.items() if color == BASELINE] == ["plain"]


def test_a_long_name_is_cut_on_the_axis_only(comparison_folder: Write) -> None:
    long = "a-very-long-variant-name-indeed"
    figure = accuracy_figure(gather([comparison_folder({"plain": {0: 0.7}, long: {0: 0.8}})]))
    assert figure is not None
    assert figure.layout.yaxis.ticktext == ("plain", "a-very-long-variant...")
    assert traces(figure, long)
