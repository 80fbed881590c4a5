"""AdaBin's two values pack exactly: two binary convolutions over the same codes, and sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import bitlens
from bitlens.models import create
from bitlens.models.layers import binary_layers

METHODS = ("adabin", "bitlens.methods.adabin:ADABIN_RELEASED")


def shaken(net: nn.Module, seed: int = 0) -> nn.Module:
    """Numbers of a trained net: gains of both signs, shifted filters, slopes that fall."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() < 2:
                parameter.copy_(torch.randn(parameter.shape, generator=random))
        for module in net.modules():
            if isinstance(module, _BatchNorm):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(generator=random)
                module.running_var.uniform_(0.1, 1.1, generator=random)
        for turn, layer in enumerate(binary_layers(net).values()):
            gain = layer.activation.get_parameter("gain")
            gain.copy_(gain.abs() * (-1) ** turn)
            shifts = torch.randn(len(layer.weight), generator=random) * layer.weight.std()
            layer.weight.add_(shifts.view(-1, *[1] * (layer.weight.dim() - 1)))
    return net


def images(n: int = 3, side: int = 12) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["resnet8-bireal-poolpad", "mlp"])
def test_every_sign_and_the_answer_equal_torchs(model: str, method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = create(model, method=method, classes=4, channels=3, image_size=12)
    shaken(net)
    packed = bitlens.pack(net, images(), float32=True)
    found = packed.verification
    assert found.differing == 0 and found.codes > 0 and found.top1_changes == 0
    packed.save(tmp_path / "net.bits")
    session = bitlens.load(tmp_path / "net.bits")
    with torch.no_grad():
        expected = net.eval()(images())
    np.testing.assert_allclose(session(images().numpy()), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("pad", [0, 1, -1])
@pytest.mark.parametrize(
    "source",
    [
        nn.Conv2d(8, 12, 3, padding=(1, 2), groups=2),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.Conv2d(8, 6, 3, padding=2, dilation=2, padding_mode="reflect"),
    ],
)
def test_groups_strides_and_borders(source: nn.Conv2d, pad: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        source,
        nn.BatchNorm2d(source.out_channels),
        nn.Conv2d(source.out_channels, 5, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )
    bitlens.binarize(net, METHODS[0], keep_float=("0", "6"), pad=pad)
    packed = bitlens.pack(shaken(net), images(), strict=True)
    assert packed.verification.differing == 0 and packed.verification.codes > 0
