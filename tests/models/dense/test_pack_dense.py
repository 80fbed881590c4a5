"""Packed dense nets answer as torch does, at sizes that the stride divides and at others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bitlens
from bitlens import binarize, pack
from bitlens.engine.freeze.pixels import normalised
from bitlens.models.dense import DenseFacts
from bitlens.models.dense.net import dense_net

MEAN, STD = (0.45, 0.5, 0.4), (0.25, 0.2, 0.3)
TINY = DenseFacts(convs=(1, 1, 1, 2), base=8, about="for tests", paper="none")


def trained(*, method: str, heads: dict[str, int], bottleneck: float) -> nn.Module:
    """A small net whose norms differ from channel to channel, as behind some training."""
    torch.manual_seed(1)
    net = dense_net(
        TINY,
        heads=heads,
        channels=3,
        image_size=(32, 32),
        bottleneck=bottleneck,
        nonlinearity=nn.PReLU,
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.get_buffer("running_mean"), 0, 0.2)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return binarize(net, method, keep_float=net.keep_float).eval()


@pytest.mark.parametrize("float32", [True, False])
@pytest.mark.parametrize(
    ("size", "heads", "bottleneck"),
    [
        ((32, 48), {"segment": 3, "depth": 1}, 0.0),
        ((35, 21), {"segment": 3}, 0.01),
    ],
)
def test_a_packed_net_answers_as_torch(
    tmp_path: Path,
    size: tuple[int, int],
    heads: dict[str, int],
    bottleneck: float,
    float32: bool,
) -> None:
    net = trained(method="reactnet", heads=heads, bottleneck=bottleneck)
    rows = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    x = normalised(rows, MEAN, STD)
    packed = pack(net, x, mean=MEAN, std=STD, float32=float32, strict=True)
    found = packed.verification
    assert (found.images, found.layers, found.differing) == (2, 11, 0)
    packed.save(tmp_path / "net.bits")
    answer = bitlens.load(tmp_path / "net.bits")(rows.transpose(0, 3, 1, 2))
    with torch.no_grad():
        expected = net(x).numpy()
    assert (
        answer.shape
        == expected.shape
        == (2, sum(heads.values()), -(-size[0] // 4), -(-size[1] // 4))
    )
    if float32:
        assert np.abs(answer - expected).max() < 1e-4
    else:
        assert np.abs(answer - expected).max() == pytest.approx(found.largest, rel=1e-3)


def test_only_the_mean_of_a_bottleneck_ships() -> None:
    net = trained(method="bireal", heads={"depth": 1}, bottleneck=0.01)
    net.train()(torch.randn(2, 3, 32, 32))
    packed = pack(net.eval(), torch.randn(2, 3, 32, 32))
    names = {node.name for node in packed.graph.nodes}
    assert "bottleneck.mean" in names
    assert not any(name.startswith("bottleneck.log_variance") for name in names)
    shipped = 4 * bitlens.summary(net).shipped_parameters
    assert packed.graph.meta["float_bytes"] == shipped
    assert shipped == 4 * (sum(p.numel() for p in net.parameters()) - 64 * 64 - 64)
