"""The multi-layer perceptron against its layer list."""

from __future__ import annotations

import torch
from torch import nn

from bitlens.models.mlp import mlp


def test_parameter_count_is_that_of_the_layer_list() -> None:
    net = mlp(classes=10, channels=1, image_size=28, nonlinearity=lambda _: nn.ReLU())
    linears = 784 * 256 + 2 * 256 * 256 + (256 * 10 + 10)
    norms = 3 * 2 * 256
    assert sum(p.numel() for p in net.parameters()) == linears + norms


def test_width_scales_every_hidden_layer() -> None:
    net = mlp(classes=3, channels=1, image_size=4, nonlinearity=lambda _: nn.ReLU(), width=0.125)
    shapes = [tuple(m.weight.shape) for m in net.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(32, 16), (32, 32), (32, 32), (3, 32)]


def test_the_nonlinearity_comes_last_in_each_unit() -> None:
    net = mlp(classes=2, channels=1, image_size=4, nonlinearity=lambda _: nn.Hardtanh()).eval()
    seen: list[torch.Tensor] = []
    for linear in (net.hidden[0].linear, net.hidden[1].linear, net.head):
        linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = 100 * torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    net(x)
    assert len(seen) == 3
    stem = net.stem
    expected = (stem.linear(x.flatten(1)) / (1 + stem.norm.eps) ** 0.5).clamp(-1, 1)
    torch.testing.assert_close(seen[0], expected)
    assert all(values.abs().max() <= 1 for values in seen)
