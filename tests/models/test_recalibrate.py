"""Batch-norm statistics re-estimated in order fit what each norm sees in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.models import create


def flat_images(n: int) -> Tensor:
    """A bright patch on a background that is one and the same value everywhere."""
    source = torch.Generator().manual_seed(3)
    images = torch.full((n, 1, 12, 12), -0.8)
    images[:, :, 4:8, 4:8] = torch.randn(n, 1, 4, 4, generator=source)
    return images


def norms(net: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def inputs_in_evaluation(net: nn.Module, images: Tensor) -> dict[Any, Tensor]:
    seen: dict[Any, Tensor] = {}
    handles = [
        m.register_forward_pre_hook(lambda module, given: seen.update({module: given[0]}))
        for m in norms(net)
    ]
    net.eval()
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("method", ["float", "bireal", "reactnet"])
def test_every_norm_holds_the_moments_of_its_input_in_evaluation(method: str) -> None:
    net = create("resnet8-bireal-poolpad", method=method, classes=4, channels=1, image_size=12)
    images = flat_images(96)
    assert bitlens.recalibrate(net, images.split(40)) == len(norms(net)) == 8
    for norm, seen in inputs_in_evaluation(net, images).items():
        axes = [axis for axis in range(seen.dim()) if axis != 1]
        torch.testing.assert_close(norm.running_mean, seen.mean(axes), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, seen.var(axes), rtol=1e-4, atol=1e-6)


def test_one_joint_average_does_not_fit_a_binary_net() -> None:
    """What a moving average converges to is not what evaluation needs; hence the layer order."""
    net = create("resnet8-bireal-poolpad", method="bireal", classes=4, channels=1, image_size=12)
    images = flat_images(96)
    for norm in norms(net):
        norm.momentum = None
        norm.reset_running_stats()
    net.train()
    with torch.no_grad():
        for batch in images.split(8):
            net(batch)
    worst = max(
        ((norm.running_mean - seen.mean([a for a in range(seen.dim()) if a != 1])).abs().max())
        for norm, seen in inputs_in_evaluation(net, images).items()
    )
    assert worst > 0.01


def test_flags_and_everything_else_stay() -> None:
    net = create("resnet8-bireal-poolpad", method="bireal", classes=4, channels=1, image_size=12)
    net.train()
    norms(net)[2].eval()
    weights = {k: v.clone() for k, v in net.state_dict().items() if "running" not in k}
    bitlens.recalibrate(net, [flat_images(16)])
    assert net.training and not norms(net)[2].training and norms(net)[3].training
    for name, value in weights.items():
        assert torch.equal(net.state_dict()[name], value), name


def test_a_net_without_norms_is_left_alone() -> None:
    assert (
        bitlens.recalibrate(nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), [flat_images(4)]) == 0
    )
