"""Figures against hand-made paths: what is drawn, where, how often, and what is left out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import comb
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.information.phases import late_drawdown, late_fall, measure_phases
from bitlens.information.regimes import plugin_bias
from bitlens.studies.figures.panel import Panel, ticks
from bitlens.studies.figures.svg import GREY, number, text, viridis
from bitlens.studies.information_plane.claims import judge
from bitlens.studies.information_plane.figures import (
    by_kind,
    estimators,
    factorial,
    generalisation,
    planes,
    regime,
    start,
    timing,
)
from bitlens.studies.information_plane.figures.every import FIGURES
from bitlens.studies.information_plane.figures.evidence import Evidence, Figure, main_shape
from bitlens.studies.information_plane.intervals import median_interval
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.paths import Path, Trajectory
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict

SVG = "{http://www.w3.org/2000/svg}"
STEPS = np.array([0, 1, 3, 9, 30, 100, 300, 1000], dtype=np.float64)
APART = (
    np.array([2, 3, 5, 7, 7, 6, 4, 2.0]),
    np.array([0.1, 0.3, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9]),
)
AT_ONCE = (
    np.array([9, 8.5, 8, 7, 6, 5, 4, 3.0]),
    np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
)
STILL = (np.full(8, 5.0), np.linspace(0.1, 0.8, 8))


def made(
    shape: tuple[np.ndarray, np.ndarray] = AT_ONCE,
    *,
    task: str = "rule",
    hidden: str = "",
    kind: str = "bnn-ste",
    seed: int = 0,
    depth: int = 5,
    readout: str = "signs",
    lost: Sequence[int] = (),
    samples: int = 4096,
    corrected: float | None = None,
    accuracy: float = 0.8,
) -> Trajectory:
    """A trajectory along `shape`, saturated at the checkpoints `lost`."""
    x, y = shape
    hidden = hidden or main_shape(task)
    saturated = np.isin(np.arange(len(x)), lost)
    phases = measure_phases(STEPS, x, y, saturated=saturated)
    path = Path(
        task=task,
        hidden=hidden,
        kind=kind,
        weight_decay=0.0,
        seed=seed,
        layer=f"L{depth}",
        depth=depth,
        from_end=hidden.count("-") + 2 - depth,
        readout=readout,
        fit=phases.F,
        compression=phases.C,
        kappa=phases.kappa,
        rise=phases.rise,
        overlap=phases.overlap,
        coupling=phases.coupling,
        lag=phases.lag,
        phi=phases.phi,
        why_not=phases.why_not or "",
        entropy_first=x[0],
        entropy_half_fit=x[len(x) // 2],
        entropy_last=x[-1],
        entropy_corrected=corrected,
        information_first=y[0],
        information_last=y[-1],
        information_corrected=None,
        half_width=0.0,
        late_drawdown=late_drawdown(STEPS, x),
        late_fall=late_fall(STEPS, x),
        balanced_first=0.5 if readout == "signs" else None,
        saturated=float(saturated.mean()),
        flag_last="saturated" if saturated[-1] else "reliable",
        train_accuracy=accuracy,
        test_accuracy=accuracy,
        test_loss=0.5,
    )
    return Trajectory(
        path=path,
        phases=phases,
        steps=STEPS,
        entropy=x,
        information=y,
        saturated=saturated,
        log2_samples=math.log2(samples),
        label_entropy=1.0,
    )


def evidence(*trajectories: Trajectory, verdicts: Sequence[Verdict] = ()) -> Evidence:
    return Evidence(
        trajectories=trajectories, paths=[t.path for t in trajectories], verdicts=verdicts
    )


def drawn(figure: Figure) -> ElementTree.Element:
    assert figure.svg is not None
    return ElementTree.fromstring(figure.svg)


def circles(root: ElementTree.Element, **wanted: str) -> list[ElementTree.Element]:
    return [c for c in root.iter(f"{SVG}circle") if wanted.items() <= c.attrib.items()]


def words(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


@cache
def everything() -> Evidence:
    """Every kind and read-out, two seeds, three tasks, with paths of all sorts among them."""
    found = []
    for kind in KINDS.values():
        float_layers = kind.activation != "sign"
        for readout in ("signs", "30 bins", "width 0.5", "kernel") if float_layers else ("signs",):
            for task, depth, seed in (("rule", 5, 0), ("rule", 4, 1), ("digits", 5, 0)):
                shape = APART if seed else (STILL if kind.name == "w1a1" else AT_ONCE)
                lost = range(8) if readout == "30 bins" and seed else ()
                found.append(
                    made(
                        shape,
                        task=task,
                        kind=kind.name,
                        depth=depth,
                        seed=seed,
                        readout=readout,
                        lost=lost,
                    )
                )
    found.append(
        made(hidden="1024-20-20-20", task="fashion-mnist", depth=1, samples=60_000, lost=[7])
    )
    return evidence(*found, verdicts=judge([t.path for t in found]))


def one_task() -> Evidence:
    """The same on the rule alone."""
    found = [t for t in everything().trajectories if t.path.task == "rule"]
    return evidence(*found, verdicts=everything().verdicts)


@pytest.mark.parametrize("known", [everything, one_task])
@pytest.mark.parametrize("draw", FIGURES)
def test_every_figure_of_mixed_paths_is_whole(draw, known) -> None:
    figure = draw(known())
    root = drawn(figure)
    assert figure.title and figure.caption and figure.source
    assert not re.search(r"\b(nan|inf|None)\b", figure.svg)
    sizes = [float(t.attrib["font-size"]) for t in root.iter(f"{SVG}text")]
    assert sizes and min(sizes) >= 11
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root.iter(f"{SVG}circle"):
        assert 0 < float(element.attrib["cx"]) < width and 0 < float(element.attrib["cy"]) < height
    for element in root.iter(f"{SVG}text"):
        x, y = float(element.attrib["x"]), float(element.attrib["y"])
        assert 0 < y < height and 0 < x < width
        if "transform" not in element.attrib:
            # Half an em a letter is a little less than sans-serif fonts take.
            broad = 0.5 * float(element.attrib["font-size"]) * len(element.text or "")
            before = {"end": 1.0, "middle": 0.5}.get(element.get("text-anchor", ""), 0.0)
            assert x - before * broad > 0 and x + (1 - before) * broad < width, element.text


@pytest.mark.parametrize("draw", FIGURES)
def test_without_data_a_sentence_stands_in(draw) -> None:
    figure = draw(evidence())
    assert figure.svg is None
    assert figure.caption.startswith("Needs ") and figure.caption.endswith(".")


def test_names_of_figures_differ() -> None:
    names = [draw(evidence()).name for draw in FIGURES]
    assert len(set(names)) == len(names)


def test_planes_draw_one_dot_a_checkpoint_hollow_where_saturated() -> None:
    root = drawn(planes.draw(evidence(made(lost=[0, 1]), made(seed=1, lost=[0]))))
    assert len(circles(root)) == len(STEPS) + 1
    # Checkpoint 1 is saturated in one seed of two, which counts; one more ring is in the key.
    assert len(circles(root, stroke=GREY)) == 2 + 1


def test_planes_put_the_mean_of_the_seeds_between_the_ceilings() -> None:
    one, two = made(), made((AT_ONCE[0] + 1, AT_ONCE[1] + 0.1), seed=1)
    root = drawn(planes.draw(evidence(one, two)))
    assert {"log2 N", "H(Y)", "L5", "bnn-ste", "rule"} <= set(words(root))
    dashed = [e.attrib for e in root.iter(f"{SVG}line") if e.get("stroke-dasharray")]
    upright = next(float(d["x1"]) for d in dashed if d["x1"] == d["x2"])
    level = next(d for d in dashed if d["y1"] == d["y2"])
    left, ceiling = float(level["x1"]), float(level["y1"])
    bottom = float(next(d["y1"] for d in dashed if d["x1"] == d["x2"]))
    points = [c.attrib for c in circles(root) if c.get("stroke") is None]
    for place, point in enumerate(points):
        x = 12 * (float(point["cx"]) - left) / (upright - left)
        y = (bottom - float(point["cy"])) / (bottom - ceiling)
        assert x == pytest.approx(AT_ONCE[0][place] + 0.5, abs=0.02)
        assert y == pytest.approx(AT_ONCE[1][place] + 0.05, abs=0.003)
    assert points[0]["fill"] == viridis(0) and points[-1]["fill"] == viridis(1)


def test_planes_name_layers_that_end_in_one_place_together() -> None:
    root = drawn(planes.draw(evidence(*(made(STILL, depth=depth) for depth in (1, 2, 3)))))
    assert "L1-L3" in words(root) and "L1" not in words(root)


def test_planes_say_where_nothing_was_measured() -> None:
    both = evidence(made(), made(kind="dnn-tanh", readout="30 bins"), made(task="digits"))
    root = drawn(planes.draw(both))
    assert words(root).count("not measured") == 1
    assert words(root).count("log2 N") == 3


def test_timing_draws_both_curves_of_every_seed_and_their_means() -> None:
    root = drawn(timing.draw(evidence(made(), made(seed=1), made(STILL, seed=2))))
    lines = list(root.iter(f"{SVG}polyline"))
    assert len(lines) == 2 * (2 + 1)
    assert any("(2 of 3 seeds)" in told for told in words(root))
    heights = [float(p.split(",")[1]) for p in lines[-1].attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)
    frame = next(r for r in root.iter(f"{SVG}rect") if r.get("fill") == "none").attrib
    assert heights[-1] == float(frame["y"])
    assert heights[0] == float(frame["y"]) + float(frame["height"])


@pytest.mark.parametrize(
    ("trajectory", "told"),
    [(made(STILL), "next to no compression"), (made(lost=range(8)), "saturated")],
)
def test_timing_says_why_there_is_nothing_to_time(trajectory: Trajectory, told: str) -> None:
    root = drawn(timing.draw(evidence(trajectory)))
    assert told in words(root)
    assert not list(root.iter(f"{SVG}polyline"))


def test_coupling_has_a_dot_a_seed_at_its_value() -> None:
    paths = [made(seed=0), made(APART, seed=1), made(STILL, seed=2)]
    figure = by_kind.draw_coupling(evidence(*paths))
    root = drawn(figure)
    seeds = circles(root, opacity="0.50")
    assert len(seeds) == 2 and "2/3" in words(root)
    frame = next(r for r in root.iter(f"{SVG}rect") if r.get("fill") == "none").attrib
    left, width = float(frame["x"]), float(frame["width"])
    values = [(float(c.attrib["cx"]) - left) / width * 2.1 - 1.05 for c in seeds]
    assert values == pytest.approx([p.path.coupling for p in paths[:2]], abs=0.01)


def test_overlap_says_saturated_where_no_seed_is_defined() -> None:
    root = drawn(by_kind.draw_overlap(evidence(made(lost=range(8)))))
    assert "saturated" in words(root)
    assert not circles(root, opacity="0.50")


@pytest.mark.parametrize("n", [2, 5, 6, 9, 10, 25])
def test_interval_of_the_median_covers_as_much_as_it_says(n: int) -> None:
    interval = median_interval(list(range(n)))
    if n < 6:
        assert interval is None
        return
    assert interval is not None
    # Values are their own ranks: the interval misses the median when too few lie on one side of it.
    k = round(interval[0]) + 1
    assert interval[1] == n - k
    missed = 2 * sum(comb(n, i) for i in range(k)) / 2**n
    assert missed <= 0.05 < missed + 2 * comb(n, k) / 2**n


def test_factorial_has_a_row_a_cell_without_norm_first() -> None:
    kinds = ("dnn-tanh", "w32a32-bn", "w1a1", "bnn-ste", "bnn-approx")
    root = drawn(factorial.draw(evidence(*(made(kind=kind) for kind in kinds))))
    cells = [told for told in words(root) if "norm" in told]
    assert cells == [
        "float weights, tanh, no norm",
        "binary weights, sign, no norm",
        "float weights, tanh, norm",
        "binary weights, sign, norm",
    ]
    assert factorial.draw(evidence(made())).svg is None


def test_generalisation_has_a_dot_a_binary_net_and_the_tau_of_the_claim() -> None:
    shapes = ("64-16-12-8-6", "10-7-5-4-3")
    nets = [
        made(hidden=shapes[seed % 2], seed=100 + seed, accuracy=0.5 + 0.01 * seed, corrected=3.0)
        for seed in range(6)
    ]
    others = [made(kind="dnn-tanh"), made(depth=4), made(lost=range(8), seed=9)]
    tau = Verdict(
        claim="C8",
        statement=STATEMENTS["C8"],
        task="rule all shapes",
        about="final I(X;T) (Chao-Wang-Jost)",
        n=6,
        statistic="tau",
        value=-0.25,
        low=-0.5,
        high=0.125,
        verdict="no relation shown",
    )
    figure = generalisation.draw(evidence(*nets, *others, verdicts=[tau]))
    root = drawn(figure)
    assert len(circles(root, opacity="0.65")) == len(nets)
    assert len({c.attrib["fill"] for c in circles(root, opacity="0.65")}) == 2
    assert set(shapes) <= set(words(root))
    assert "tau -0.25 [-0.50, +0.12], 6 nets" in words(root)
    assert "too few nets for tau" in words(drawn(generalisation.draw(evidence(*nets))))


def test_start_has_a_dot_a_path_and_predictor_in_the_color_of_its_family() -> None:
    signs = [made(kind=kind) for kind in ("dnn-tanh", "bnn-ste", "w32a1-bn")]
    bins = [made(APART, kind="dnn-tanh", readout="30 bins")]
    undefined = [made(STILL)]
    root = drawn(start.draw(evidence(*signs, *bins, *undefined)))
    marks = [c for g in root.iter(f"{SVG}g") for c in circles(g)]
    # Only layers read by signs: three predictors of three paths.
    assert len(marks) == 3 + 3 + 3
    colors = {g.attrib["fill"] for g in root.iter(f"{SVG}g")}
    assert colors == {
        start.FAMILIES[name] for name in ("float, no norm", "binary", "float weights, sign")
    }


def test_every_kind_has_a_family() -> None:
    assert {start.family(kind) for kind in KINDS.values()} == set(start.FAMILIES)


def test_estimators_are_hollow_where_saturated_and_skip_sign_nets() -> None:
    layers = [
        made(kind="dnn-tanh", readout="signs"),
        made(kind="dnn-tanh", readout="30 bins", lost=[7]),
        made(kind="bnn-ste"),
    ]
    figure = estimators.draw(evidence(*layers))
    root = drawn(figure)
    marks = [c for c in circles(root) if c.attrib["r"] == "3.6"]
    assert [c.get("stroke") is not None for c in marks] == [False, True]
    assert "dnn-tanh" in words(root) and "bnn-ste" not in words(root)
    assert estimators.draw(evidence(layers[0])).svg is None


def test_regime_places_layers_by_samples_and_units() -> None:
    layers = [
        *(made(depth=depth) for depth in range(1, 6)),
        made(task="fashion-mnist", depth=2, samples=60_000, lost=[7]),
        made(task="cifar10", depth=2, samples=50_000),
    ]
    root = drawn(regime.draw(evidence(*layers)))
    tips = {c.findtext(f"{SVG}title", ""): c.attrib for c in circles(root) if len(c)}
    assert len(tips) == 7
    assert tips["fashion-mnist, 12 units: 1 saturated"]["stroke"] == GREY
    anchors = {t.text: t.get("text-anchor") for t in root.iter(f"{SVG}text")}
    assert anchors["cifar10"] == "end" and anchors.get("fashion-mnist") is None
    assert anchors["rule"] == "middle" and "enumerated" in anchors
    wide = tips["rule, 64 units: 1 reliable"]
    inside = [float(at["cy"]) for tip, at in tips.items() if "64 units" not in tip]
    assert float(wide["cy"]) < min(inside)


def test_regime_bands_lie_where_the_bias_is() -> None:
    root = drawn(regime.draw(evidence(made())))
    frame = next(r for r in root.iter(f"{SVG}rect") if r.get("fill") == "none").attrib
    bottom = float(frame["y"]) + float(frame["height"])
    edges = [e.attrib["points"].split() for e in root.iter(f"{SVG}polyline")]
    assert len(edges) == len(regime.BIASES)
    for bias, edge in zip(regime.BIASES, edges, strict=True):
        units = (bottom - float(edge[0].split(",")[1])) / float(frame["height"]) * regime.MOST_UNITS
        assert plugin_bias(regime.SAMPLES[0], units).item() == pytest.approx(-bias, rel=0.05)


def test_a_coordinate_must_be_finite() -> None:
    assert [number(value) for value in (1.0, 0.25, -3.14159)] == ["1", "0.2", "-3.1"]
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="coordinate"):
            number(value)


def test_text_cannot_become_markup() -> None:
    element = ElementTree.fromstring(text(1, 2, "<b> & co"))
    assert element.text == "<b> & co"


def test_colors_of_steps_grow_lighter() -> None:
    light = [
        sum(weight * int(color[i : i + 2], 16) for weight, i in ((0.21, 1), (0.72, 3), (0.07, 5)))
        for color in (viridis(share) for share in np.linspace(0, 1, 30))
    ]
    assert light == sorted(light) and len(set(light)) == 30


@given(
    low=st.floats(-1000, 1000),
    span=st.floats(0.01, 1000),
    most=st.integers(3, 9),
)
def test_ticks_are_round_and_within(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    slack = 1e-6 * span
    assert 1 <= len(found) <= most + 1
    assert all(low - slack <= value <= low + span + slack for value in found)
    assert np.allclose(np.diff(found), found[1] - found[0] if len(found) > 1 else 0, rtol=1e-5)


def test_a_panel_maps_its_ranges_onto_its_edges() -> None:
    panel = Panel(left=10, top=20, width=100, height=50, x_range=(0, 4), y_range=(-1, 1))
    assert (
        panel.at(0, -1) == (10, 70) and panel.at(4, 1) == (110, 20) and panel.at(1, 0) == (35, 45)
    )


def test_other_shapes_and_predictions_stay_out_of_the_comparison() -> None:
    usual, other = made(), made(hidden="32-12-8-6", depth=4)
    prediction = replace(usual, path=replace(usual.path, layer="prediction", from_end=0))
    assert evidence(usual, other, prediction).main == [usual]
