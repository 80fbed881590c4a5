"""Numbers that ship, by method: what only helps to train does not count against one."""

from __future__ import annotations

import torch

from bitlens.models import create
from bitlens.models.layers import binary_layers
from bitlens.studies.bibench.complexity import Complexity, measure_complexity
from bitlens.studies.bibench.evidence import task_names
from bitlens.studies.bibench.tracks import size_ratio

NET = "resnet8-bireal-poolpad"


def counted(method: str) -> tuple[Complexity, int]:
    """Of the net, and how many parameters stand outside its layers' weights' binarizers."""
    net = create(NET, method=method, classes=10, channels=1, image_size=28)
    return measure_complexity(net, torch.zeros(1, 1, 28, 28)), sum(
        p.numel() for layer in binary_layers(net).values() for p in layer.activation.parameters()
    )


def test_what_only_helps_to_train_is_not_shipped() -> None:
    plain, _ = counted("bireal")
    for method in ("fda", "vispa"):
        found, _ = counted(method)
        net = create(NET, method=method, classes=10, channels=1, image_size=28)
        assert sum(p.numel() for p in net.parameters()) > found.parameters, "something is left out"
        assert (found.parameters, found.binary) == (plain.parameters, plain.binary), method


def test_thresholds_and_slopes_do_count() -> None:
    plain, _ = counted("bireal")
    learned, in_activations = counted("reactnet")
    extra = learned.parameters - plain.parameters
    assert extra >= in_activations > 0 and learned.binary == plain.binary
    real, _ = counted("float")
    a, b = (
        size_ratio(parameters_fp=real.parameters, parameters_bin=one.parameters, binary=one.binary)
        for one in (plain, learned)
    )
    assert 1 < b < a


def test_a_set_in_two_sizes_is_two_tasks() -> None:
    assert task_names([("a", 0), ("b", 8), ("a", 0)]) == {("a", 0): "a", ("b", 8): "b"}
    assert task_names([("a", 0), ("a", 8)]) == {("a", 0): "a (own size)", ("a", 8): "a (8 pixels)"}
