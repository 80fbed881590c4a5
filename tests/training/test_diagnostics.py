"""Flips, entropies, dead codes and the origin of NaN, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import bitlens
from bitlens.models import create
from bitlens.models.layers import binary_layers
from bitlens.objectives.cmim import CMIM
from bitlens.tasks.classify import ClassifyTask
from bitlens.training.diagnostics import (
    CodeStatistics,
    blame_non_finite,
    constant_codes,
    flip_rates,
    sign_entropy,
    weight_signs,
)


def small() -> nn.Module:
    return create("mlp", method="bireal", classes=3, channels=1, image_size=4)


def test_flip_rates_by_hand() -> None:
    before = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False])}
    after = {"a": torch.tensor([True, False, True, True]), "b": torch.tensor([True, False])}
    total, layers = flip_rates(before, after)
    assert layers == {"a": 0.75, "b": 0.0}
    assert total == 3 / 6
    assert flip_rates({}, {}) == (None, {})


def test_weight_signs_follow_the_latent_weights() -> None:
    net = small()
    before = weight_signs(net)
    layer = binary_layers(net)["hidden.0.linear"]
    assert torch.equal(before["hidden.0.linear"], layer.weight >= 0)
    with torch.no_grad():
        layer.weight[:64].neg_()
    total, layers = flip_rates(before, weight_signs(net))
    assert layers == {"hidden.0.linear": 0.25, "hidden.1.linear": 0.0}
    assert total == 0.125


@pytest.mark.parametrize(
    ("rate", "bits"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.25, 2 - 0.75 * math.log2(3))]
)
def test_entropy_of_a_sign_by_hand(rate: float, bits: float) -> None:
    assert float(sign_entropy(torch.tensor(rate))) == pytest.approx(bits, abs=1e-12)
    assert float(sign_entropy(torch.tensor(1 - rate))) == pytest.approx(bits, abs=1e-12)


def test_code_statistics_by_hand() -> None:
    net = bitlens.binarize(nn.Sequential(nn.Conv2d(2, 3, 1)), keep_float=())
    images = torch.tensor([[[[1.0, -1.0]], [[2.0, 3.0]]], [[[-1.0, -5.0]], [[1.0, 0.0]]]])
    statistics = CodeStatistics(net)
    with statistics.watching():
        net(images[:1])
        net(images[1:])
    net(-images)
    (name,) = statistics.positive_rates()
    assert statistics.positive_rates()[name].tolist() == [0.25, 1.0]
    assert statistics.entropies()[name] == pytest.approx((2 - 0.75 * math.log2(3)) / 2)
    assert constant_codes(statistics) == [], "one channel still speaks"


def test_a_sign_behind_a_relu_is_found() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    bitlens.binarize(net, keep_float=("0",), relu="keep")
    statistics = CodeStatistics(net)
    with statistics.watching():
        net(torch.randn(16, 1, 3, 3, generator=torch.Generator().manual_seed(0)))
    assert "2" in constant_codes(statistics)
    assert statistics.entropies()["2"] == 0.0


def task_of(net: nn.Module) -> tuple[ClassifyTask, tuple[torch.Tensor, ...]]:
    task = ClassifyTask(net, CMIM(net), weight=0.1)
    source = torch.Generator().manual_seed(0)
    return task, (torch.randn(8, 1, 4, 4, generator=source), torch.arange(8) % 3, torch.arange(8))


def test_a_poisoned_parameter_is_blamed() -> None:
    net = small()
    task, batch = task_of(net)
    with torch.no_grad():
        net.get_parameter("hidden.0.norm.weight")[3] = math.nan
    error = blame_non_finite(task, lambda: task(*batch), 2, 7)
    assert "epoch 2, step 7: parameter 'net.hidden.0.norm.weight' holds NaN" in str(error)


def test_the_first_layer_with_a_bad_output_is_blamed() -> None:
    net = small()
    task, batch = task_of(net)
    net.get_submodule("hidden.0.norm").register_forward_hook(lambda m, i, out: out * math.inf)
    error = blame_non_finite(task, lambda: task(*batch), 1, 1)
    assert "the first layer with a non-finite output is 'net.hidden.0." in str(error)


def test_an_overflow_of_the_loss_alone_is_told_apart() -> None:
    net = small()
    task, batch = task_of(net)
    error = blame_non_finite(task, lambda: task(*batch), 1, 1)
    assert "every layer's output is finite, so the loss itself overflowed" in str(error)
