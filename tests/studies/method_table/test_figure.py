"""The picture: well formed, sorted, and every seed where its accuracy is."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from bitlens.studies.method_table.figure import draw
from bitlens.studies.method_table.rows import aggregate

Row = dict[str, str]
SVG = "{http://www.w3.org/2000/svg}"


def labels(root: ElementTree.Element, names: set[str]) -> dict[str, float]:
    found = [t for t in root.iter(f"{SVG}text") if t.text in names]
    return {str(t.text): float(t.get("y", "nan")) for t in found if t.get("text-anchor") == "end"}


def test_methods_stand_in_the_order_of_their_accuracy(some_runs: list[Row]) -> None:
    root = ElementTree.fromstring(draw(aggregate(some_runs, [])))
    places = labels(root, {"float", "bnn", "irnet"})
    assert sorted(places, key=lambda name: places[name]) == ["float", "irnet", "bnn"]


def test_dots_lie_at_their_accuracies(some_runs: list[Row]) -> None:
    picture = draw(aggregate(some_runs, []))
    root = ElementTree.fromstring(picture)
    means = {}
    for circle in root.iter(f"{SVG}circle"):
        tip = circle.find(f"{SVG}title")
        if tip is not None and tip.text:
            found = re.fullmatch(r"(\w+), (plain|with CMIM): ([\d.]+) % \(n = (\d)\)", tip.text)
            assert found
            means[found[1], found[2]] = (float(found[3]), float(circle.get("cx", "nan")))
    assert means["irnet", "with CMIM"][0] == 40.5 and means["bnn", "plain"][0] == 38.0
    assert set(means) == {
        *(("float", "plain"), ("bnn", "plain"), ("bnn", "with CMIM")),
        *(("irnet", "plain"), ("irnet", "with CMIM")),
    }
    # One straight scale: pixels a point are the same between any two dots.
    (a, x), (b, y) = means["bnn", "plain"], means["float", "plain"]
    slope = (y - x) / (b - a)
    for percent, place in means.values():
        assert place == pytest.approx(x + slope * (percent - a), abs=0.5), (
            "a hundredth of a point is rounded"
        )
    seeds = [g for g in root.iter(f"{SVG}g") if g.get("fill-opacity") == "0.55"]
    assert sum(len(group) for group in seeds) == len(some_runs)


def test_one_panel_a_data_set(some_runs: list[Row], run: Callable[..., Row]) -> None:
    other = [run("bnn", 0, 0.8, data="fashion-mnist")]
    one, two = draw(aggregate(some_runs, [])), draw(aggregate([*other, *some_runs], []))
    assert two.count("test accuracy, %<") == 2 and one.count("test accuracy, %<") == 1
    width = [float(ElementTree.fromstring(p).get("width", "0")) for p in (one, two)]
    assert width[1] > 1.5 * width[0]
    assert draw(aggregate(some_runs, [])) == one, "the same rows give the same bytes"
    assert "e+" not in one and "nan" not in one
