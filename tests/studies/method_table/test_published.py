"""Published figures: plausible, each once, of methods that exist, and none we could not read."""

from __future__ import annotations

from bitlens.methods import METHODS
from bitlens.studies.method_table.published import CIFAR10, IMAGENET, PUBLISHED, published

UNREAD = ("bnn", "xnor", "xnorpp", "dorefa", "fda", "complex", "vispa")
"""Methods whose own figures were not read at their source."""


def test_figures_are_of_methods_and_plausible() -> None:
    assert {figure.method for figure in PUBLISHED} <= {*METHODS}
    low, high = {CIFAR10: 85.0, IMAGENET: 55.0}, {CIFAR10: 94.0, IMAGENET: 68.0}
    for figure in PUBLISHED:
        assert low[figure.data] < float(figure.top1) < high[figure.data], figure
        assert figure.net and figure.source


def test_each_figure_once() -> None:
    keys = [(figure.method, figure.data, figure.net) for figure in PUBLISHED]
    assert len(keys) == len(set(keys))


def test_deeper_nets_of_one_paper_are_better() -> None:
    """A slip of a column would show."""
    for method in {figure.method for figure in PUBLISHED}:
        found = {figure.net: float(figure.top1) for figure in published(method, IMAGENET)}
        if "ResNet-34" in found:
            assert found["ResNet-34"] > found["ResNet-18"], method
        found = {figure.net: float(figure.top1) for figure in published(method, CIFAR10)}
        if "ResNet-18" in found:
            assert found["ResNet-18"] > found["ResNet-20"], method


def test_nothing_second_hand() -> None:
    assert not [figure for figure in PUBLISHED if figure.method in UNREAD]


def test_asking_for_a_method() -> None:
    assert [figure.top1 for figure in published("irnet", CIFAR10)] == ["86.5", "91.5", "90.4"]
    assert len(published("irnet")) == 5 and published("bnn") == ()
