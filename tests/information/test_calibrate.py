"""Batch-norm statistics of the moment: exactly the batch's, and as many samples as are needed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bitlens.information.calibrate import Sizes, moving_norms, settle, tracked_norms
from bitlens.information.undisturbed import undisturbed
from bitlens.models import create
from bitlens.models.recalibrate import recalibrate

X = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 3 + 2


def convolutional(method: str = "float") -> nn.Module:
    torch.manual_seed(0)
    return create("resnet8-bireal-poolpad", method=method, classes=4, channels=3, image_size=8)


@pytest.mark.parametrize("method", ["float", "bireal"])
def test_evaluation_then_is_training_on_that_batch(method: str) -> None:
    net = convolutional(method).double()
    expected = copy.deepcopy(net).train()(X.double())
    with undisturbed(net):
        norms = sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in net.modules())
        assert settle(net, X.double()) == norms
        torch.testing.assert_close(net(X.double()), expected, rtol=1e-9, atol=1e-9)
    assert all(m.training for m in net.modules())


def test_statistics_are_those_of_recalibrate() -> None:
    """A slow and independent way to the same numbers; it divides by n - 1."""
    net, other = convolutional().double(), convolutional().double()
    recalibrate(other, [X[:20].double(), X[20:].double()])
    with undisturbed(net):
        settle(net, X.double())
        for (name, ours), theirs in zip(net.named_modules(), other.modules(), strict=True):
            if isinstance(ours, nn.BatchNorm2d):
                for ours_now, theirs_now in (
                    (ours.running_mean, theirs.running_mean),
                    (ours.running_var, theirs.running_var),
                ):
                    torch.testing.assert_close(ours_now, theirs_now, rtol=0.01, atol=1e-3, msg=name)


def test_only_the_given_norms_are_settled() -> None:
    net = convolutional()
    first, *others = tracked_norms(net)
    before = [norm.running_mean.clone() for norm in others]
    with undisturbed(net):
        assert settle(net, X, [first]) == 1 and settle(net, X, []) == 0
        assert not torch.equal(first.running_mean, torch.zeros_like(first.running_mean))
        assert all(torch.equal(a, b.running_mean) for a, b in zip(before, others, strict=True))


def test_a_norm_in_evaluation_mode_is_frozen_only_while_its_net_trains() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    net[1].eval()
    assert moving_norms(net) == [net[0], net[2]]
    assert moving_norms(net.eval()) == list(net)


def test_lagging_averages_would_give_other_codes() -> None:
    net = convolutional()
    with undisturbed(net):
        lagging = net(X)
        settle(net, X)
        assert (net(X) - lagging).abs().max() > 0.1


def test_nets_without_statistics_are_left_alone() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False))
    assert settle(net, torch.randn(4, 3)) == 0
    assert Sizes.of(nn.Linear(3, 5), torch.randn(4, 3)).to_settle(1000, 2**20) == 0


def test_how_many_samples_settle() -> None:
    sizes = Sizes.of(convolutional().eval(), X[:8])
    # The stem has most activations, 16 channels of 8x8; the norm after the pooling sees one value.
    assert sizes == Sizes(activations=16 * 64, positions=1)
    assert Sizes(activations=1, positions=64).to_settle(10**6, 2**30) == 256
    assert sizes.to_settle(10**6, 2**30) == 2**14
    assert sizes.to_settle(1000, 2**30) == 1000
    assert sizes.to_settle(10**6, 2**20) == 2**20 // 1024
    assert sizes.to_settle(10**6, 1) == 128
    assert sizes.to_settle(50, 1) == 50


@pytest.mark.parametrize("momentum", [0.1, None])
def test_momentum_and_counters_come_back(momentum: float | None) -> None:
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum))
    net(X)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with undisturbed(net):
        settle(net, X + 5)
        assert torch.allclose(net[0].running_mean, (X + 5).mean((0, 2, 3)))
    assert net[0].momentum == momentum and net[0].training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
