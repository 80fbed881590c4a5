"""Ensembles of sampled nets, against the members one by one and against their limit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bitlens import BitlensError, binarize, set_progress
from bitlens.methods.vispa import GaussianWeight
from bitlens.models import create
from bitlens.models.ensemble import ensemble
from bitlens.models.layers import BinaryLinear


def net_and_images() -> tuple[nn.Module, Tensor]:
    net = create("resnet8-bireal-poolpad", method="vispa", classes=4, channels=3, image_size=16)
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    set_progress(net, 0.4)
    return net, images


def test_members_are_averaged_and_the_net_is_left_as_it_was() -> None:
    net, images = net_and_images()
    net.get_submodule("head").eval()
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    four = ensemble(net, images, 4)
    assert torch.equal(ensemble(net, images, 4), four)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not four.requires_grad
    two = ensemble(net, images, 2)
    assert not torch.allclose(two, four)
    net.eval()
    members = []
    for draw in range(4):
        for module in net.modules():
            if isinstance(module, GaussianWeight):
                module.draw = draw
        members.append(net(images).detach())
    assert not torch.allclose(members[0], members[1])
    torch.testing.assert_close(torch.stack(members).mean(0), four)
    torch.testing.assert_close(torch.stack(members[:2]).mean(0), two)


def test_many_members_tend_to_the_mean_weights() -> None:
    torch.manual_seed(0)
    layer = binarize(nn.Linear(12, 5).double(), "vispa")
    assert isinstance(layer, BinaryLinear) and layer.bias is not None
    assert isinstance(layer.weight_binarizer, GaussianWeight)
    x = torch.randn(6, 12, dtype=torch.float64)
    mu, factor = layer.weight.detach(), layer.weight_binarizer.factor.detach().mul_(6)
    mean = torch.erf(mu / (factor.norm(dim=1).view(5, 12) * math.sqrt(2))) * mu.abs().mean(
        1, keepdim=True
    )
    expected = torch.where(x >= 0, 1.0, -1.0).double() @ mean.T + layer.bias.detach()
    far = (layer.eval()(x) - expected).abs().max()
    near = (ensemble(layer, x, 3000) - expected).abs().max()
    assert near < 0.05 and near < far / 4


def test_a_failing_net_is_restored_too() -> None:
    net, images = net_and_images()
    with pytest.raises(RuntimeError):
        ensemble(net, images[:, :1], 2)
    assert net.training
    drawn = [module.draw for module in net.modules() if isinstance(module, GaussianWeight)]
    assert drawn == [None] * 6


def test_what_cannot_be_drawn_is_refused() -> None:
    net, images = net_and_images()
    with pytest.raises(BitlensError, match="samples=0; give at least 1"):
        ensemble(net, images, 0)
    with pytest.raises(BitlensError, match="train one with method='vispa'"):
        ensemble(binarize(nn.Linear(4, 2)), torch.randn(2, 4), 3)
