"""XNOR-Net++: the rank-one map against an outer product, its laziness, and its one image size."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitlens
from bitlens import BitlensError, binarize
from bitlens.methods.xnorpp import ChannelScale, RankOneScale
from bitlens.models import create
from bitlens.models.layers import BinaryConv2d, BinaryLinear, binary_layers


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scales(channels: int, rows: int, columns: int) -> RankOneScale:
    module = RankOneScale(channels).double()
    module(torch.zeros(1, channels, rows, columns, dtype=torch.float64))
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(normal(len(parameter), seed=seed))
    return module


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 6, 1, 1), (3, 1, 2, 2)])
def test_every_place_has_the_product_of_three_scales(
    shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    module = scales(*shape[1:])
    x = normal(*shape, seed=9).contiguous(memory_format=layout).requires_grad_()
    upstream = normal(*shape, seed=10)
    found = module(x)
    c, i, j = (p.detach().numpy() for p in (module.channel, module.row, module.column))
    product = np.einsum("c,i,j->cij", c, i, j)
    np.testing.assert_allclose(found.detach().numpy(), x.detach().numpy() * product)
    ours = torch.autograd.grad((found * upstream).sum(), [x, *module.parameters()])
    both = (x.detach() * upstream).numpy()
    theirs = (
        upstream.numpy() * product,
        np.einsum("ncij,i,j->c", both, i, j),
        np.einsum("ncij,c,j->i", both, c, j),
        np.einsum("ncij,c,i->j", both, c, i),
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b)


def test_both_layouts_give_the_same_bits() -> None:
    module = scales(3, 4, 5).float()
    x = normal(2, 3, 4, 5).float()
    assert torch.equal(module(x), module(x.contiguous(memory_format=torch.channels_last)))


def test_a_fresh_layer_scales_by_one_before_its_bias() -> None:
    layer = binarize(nn.Conv2d(3, 4, 3, padding=1), "xnorpp").double()
    assert isinstance(layer, BinaryConv2d) and layer.bias is not None
    x = normal(2, 3, 6, 6)
    sums = F.conv2d(torch.where(x >= 0, 1.0, -1.0).double(), layer.signs(), padding=1)
    bias = layer.bias.view(-1, 1, 1)
    torch.testing.assert_close(layer(x), sums + bias)
    output = layer.output
    assert isinstance(output, RankOneScale)
    with torch.no_grad():
        output.row.mul_(torch.arange(6))
    expected = sums * torch.arange(6.0).double().view(6, 1) + bias
    for training in (True, False):
        torch.testing.assert_close(layer.train(training)(x), expected)


def test_a_linear_layer_has_a_scale_per_output_alone() -> None:
    layer = binarize(nn.Linear(7, 4), "xnorpp")
    assert isinstance(layer, BinaryLinear) and isinstance(layer.output, ChannelScale)
    assert [tuple(p.shape) for p in layer.output.parameters()] == [(4,)]
    with torch.no_grad():
        layer.output.channel.copy_(torch.tensor([1.0, -2.0, 0.0, 0.5]))
    x = normal(2, 5, 7).float()
    sums = F.linear(torch.where(x >= 0, 1.0, -1.0), layer.signs())
    assert layer.bias is not None
    torch.testing.assert_close(layer(x), sums * layer.output.channel + layer.bias)


def test_a_created_net_has_its_scales_and_an_optimizer_can_have_them() -> None:
    settings = {"method": "xnorpp", "classes": 3, "channels": 3}
    net = create("resnet8-bireal-poolpad", image_size=16, **settings)
    assert net.training
    outputs = [module for module in net.modules() if isinstance(module, RankOneScale)]
    assert len(outputs) == len(binary_layers(net))
    assert {output.row.numel() for output in outputs} == {4, 8, 16}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(normal(2, 3, 16, 16).float()).square().sum().backward()
    optimizer.step()
    assert all((output.column != 1).any() for output in outputs)


def test_a_state_can_be_loaded_before_the_first_forward_pass() -> None:
    def fresh() -> nn.Module:
        return binarize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)), "xnorpp")

    saved, loaded = fresh(), fresh()
    x = normal(2, 3, 9, 8).float()
    saved(x)
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.add_(normal(*parameter.shape, seed=3), alpha=0.3)
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded(x), saved(x))
    assert torch.equal(copy.deepcopy(loaded)(x), saved(x))
    unsettled = copy.deepcopy(fresh())
    unsettled.load_state_dict(saved.state_dict())
    with pytest.raises(BitlensError, match="output is 7 x 7, but it learned scales for 7 x 6"):
        unsettled(normal(1, 3, 9, 9).float())


def test_images_of_another_size_are_refused() -> None:
    net = create("resnet8-bireal-poolpad", method="xnorpp", classes=3, channels=3, image_size=16)
    with pytest.raises(BitlensError, match=r"is 20 x 20, but .* 16 x 16 places; use images of the"):
        net(torch.zeros(1, 3, 20, 20))


def test_packing_is_refused_with_the_reason() -> None:
    net = create("resnet8-bireal-poolpad", method="xnorpp", classes=3, channels=3, image_size=12)
    with pytest.raises(BitlensError, match="the scale differs from place to place"):
        bitlens.pack(net, torch.zeros(1, 3, 12, 12))
