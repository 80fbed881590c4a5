"""What the figures of the plane show: exact values, ceilings, honest marks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bitlens.report.phase_figures import phase_figure
from bitlens.report.phase_series import phases_of
from bitlens.report.plane_figures import COLUMNS, plane_figure, shared_extent, time_colors
from bitlens.report.plane_series import MEAN, mean_reading, tracks, worst
from bitlens.report.regime_figure import error_map, placed_layers, regime_figure
from bitlens.report.runs import Run
from bitlens.report.standings import gather

Write = Callable[..., Path]


@pytest.fixture
def three_seeds(run_folder: Write, plane_tools: SimpleNamespace) -> tuple[Run, ...]:
    folders = []
    for seed in range(3):
        folders.append(run_folder(f"seed{seed}", seed=seed))
        plane_tools.plane(folders[-1], plane_tools.paths(4, seed, first_saturated=1))
    return gather(folders).variants["demo-cmim"]


def test_tracks_are_the_mean_and_every_seed(three_seeds: tuple[Run, ...]) -> None:
    found = tracks(three_seeds)
    assert [(t.view, t.layer) for t in found] == [
        (view, f"l{i}") for view in (MEAN, "0", "1", "2") for i in range(4)
    ]
    by_key = {(t.view, t.layer): t for t in found}
    assert by_key[MEAN, "l2"].steps == [0, 1, 3, 10, 30, 100, 300, 1000]
    singles = [by_key[str(seed), "l2"].readings[5] for seed in range(3)]
    mean = by_key[MEAN, "l2"].readings[5]
    for key in ("entropy", "information", "entropy_cwj", "doubling_gain"):
        assert mean[key] == pytest.approx(statistics.mean(one[key] for one in singles))
    assert mean["entropy_sd"] == pytest.approx(statistics.stdev(o["entropy"] for o in singles))
    assert mean["entropy_nsb"] is None


def test_a_mean_is_only_as_good_as_its_worst_seed(plane_tools: SimpleNamespace) -> None:
    a, b = plane_tools.reading(5, 1, "corrected"), plane_tools.reading(6, 1.5, "unreliable")
    assert mean_reading([a, b])["flag"] == "unreliable"
    assert worst(["saturated", "reliable"]) == "saturated"


def test_the_mean_covers_the_steps_all_seeds_have(
    run_folder: Write, plane_tools: SimpleNamespace
) -> None:
    folders = [run_folder("a", seed=0), run_folder("b", seed=1)]
    rows = plane_tools.paths(2)
    plane_tools.plane(folders[0], rows)
    plane_tools.plane(folders[1], {step: rows[step] for step in (0, 10, 100, 1000)})
    found = {t.view: t for t in tracks(gather(folders).runs) if t.layer == "l1"}
    assert found[MEAN].steps == [0, 10, 100, 1000]
    assert found["0"].steps == list(rows)


def test_the_panel_draws_exact_values_with_their_flags(three_seeds: tuple[Run, ...]) -> None:
    found = tracks(three_seeds)
    figure = plane_figure(found, shared_extent(found))
    paths = {(t.meta["view"], t.meta["layer"]): t for t in figure.data if "view" in t.meta}
    plane = three_seeds[1].plane
    assert plane is not None
    assert list(paths["1", "l2"].x) == plane.values("l2", "entropy")
    assert list(paths["1", "l2"].y) == plane.values("l2", "information")
    assert {view for (view, _), t in paths.items() if t.visible} == {MEAN}
    assert set(paths[MEAN, "l0"].marker.symbol) == {"circle-open"}
    assert set(paths[MEAN, "l0"].marker.color) == {"#8c8c8c"}
    assert set(paths[MEAN, "l1"].marker.symbol) == {"circle"}
    carried = dict(zip(COLUMNS, paths["1", "l2"].customdata[3], strict=True))
    assert (carried["step"], carried["flag"]) == (10, "reliable")
    assert carried["entropy_nsb"] == "-"
    assert carried["entropy_cwj"] == pytest.approx(plane.values("l2", "entropy_cwj")[3], abs=1e-4)
    for words in ("l2", "seed 1", "read-out signs", "N = 1024, test split", "NSB", "permutation z"):
        assert words in paths["1", "l2"].hovertemplate


def test_the_ceilings_are_drawn_and_named(three_seeds: tuple[Run, ...]) -> None:
    found = tracks(three_seeds)
    figure = plane_figure(found, shared_extent(found))
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert texts == ["log<sub>2</sub> N = 10.00", "H(Y) = 2.00"]
    assert figure.layout.meta["ceilings"] == {"x": [10.0], "y": [2.0]}
    assert figure.layout.xaxis.range[1] > 10
    assert figure.layout.yaxis.range[1] > 2


def test_estimates_beyond_the_ceiling_have_room(plane_tools: SimpleNamespace) -> None:
    wide = plane_tools.reading(9.99, 2.0, "saturated", entropy_cwj=17.5)
    track = SimpleNamespace(steps=[0], readings=[wide])
    extent = shared_extent([track])
    assert extent["sample"]["x"][1] < 11
    assert extent["estimate"]["x"][1] > 17.5


def test_colors_follow_the_logarithm_of_the_step() -> None:
    assert time_colors([0, 9, 99], 99) == [
        *time_colors([0], 99),
        *time_colors([99], 9999),
        *time_colors([9999], 9999),
    ]
    assert len(set(time_colors([0, 9, 99], 99))) == 3


def test_phases_are_those_of_the_written_paths(three_seeds: tuple[Run, ...]) -> None:
    found = phases_of(three_seeds)["l2"][1]
    # Written: fits by 1.4 - .05 * 2 up to step 30, from 100 on falls by 2 + .1 * 2.
    assert found.F == pytest.approx(1.3)
    assert found.C == pytest.approx(2.2)
    assert (found.overlap, found.coupling) == (0, 1)
    assert "100%" in (phases_of(three_seeds)["l0"][1].why_not or "")


def test_bars_hold_all_of_the_fit_and_the_compression(three_seeds: tuple[Run, ...]) -> None:
    figure = phase_figure(three_seeds)
    assert figure is not None
    assert list(figure.layout.yaxis.ticktext) == ["l1", "l2", "l3"]
    rows = [figure.data[i : i + 2] for i in (0, 2, 4)]
    for fit, compression in rows:
        share = sum(w * h for w, h in zip(fit.width, fit.y, strict=True))
        assert share == pytest.approx(
            -sum(w * h for w, h in zip(compression.width, compression.y, strict=True))
        )
        ends = [x for x, height in zip(fit.x, fit.y, strict=True) if height > 1e-9]
        assert (
            max(ends)
            < math.log10(31)
            < min(
                x for x, height in zip(compression.x, compression.y, strict=True) if height < -1e-9
            )
        )
    assert rows[0][0].base == 0
    assert rows[2][0].base == -2


def test_nothing_to_time_gives_no_figure(run_folder: Write, plane_tools: SimpleNamespace) -> None:
    folder = run_folder()
    plane_tools.plane(folder, plane_tools.paths(2, first_saturated=2))
    assert phase_figure(gather([folder]).runs) is None
    plane_tools.plane(folder, {0: plane_tools.paths(2)[0]})
    assert phases_of(gather([folder]).runs) == {"l0": {}, "l1": {}}


def test_layers_lie_at_what_they_hold_and_could_hold(three_seeds: tuple[Run, ...]) -> None:
    placed = placed_layers({"net": tracks(three_seeds)})
    assert [(one.layer, one.bits, one.flag) for one in placed] == [
        ("l0", 4096, "saturated"),
        *((f"l{i}", 16, "reliable") for i in (1, 2, 3)),
    ]
    figure = regime_figure(placed)
    marks = {trace.name: trace for trace in figure.data}
    assert list(marks["saturated"].y)[:2] == [20.0, 10.0]
    assert marks["saturated"].marker.symbol[0] == "triangle-up-open"
    ends = [one.entropy for one in placed if one.flag == "reliable"]
    assert [y for y in marks["reliable"].y if y not in (16, None)] == ends
    samples = [x for name in ("saturated", "reliable") for x in marks[name].x if x is not None]
    assert all(abs(math.log10(x) - math.log10(1024)) <= 0.11 for x in samples)


def test_the_map_is_the_exact_error() -> None:
    # One fair bit seen by two samples: half the time they agree and the plug-in says 0, else 1 bit.
    samples, units, error = error_map(math.log10(2), math.log10(4), 1 / 1.02)
    at = error[len(units) - 1, samples.index(2)]
    assert units[-1] == pytest.approx(1)
    assert at == pytest.approx(0.5)
    assert (error[0] == 0).all()
