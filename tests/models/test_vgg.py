"""VGG-small against its layer list."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitlens.models.vgg import ConvUnit, VggSmall, vgg_small


def outline(image_size: int) -> VggSmall:
    with torch.device("meta"):
        return vgg_small(
            classes=10, channels=3, image_size=image_size, nonlinearity=lambda _: nn.ReLU()
        )


def test_parameter_count_is_that_of_the_layer_list() -> None:
    pairs = ((3, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512))
    convolutions = sum(9 * c_in * c_out for c_in, c_out in pairs)
    norms = 2 * (128 + 128 + 256 + 256 + 512 + 512)
    net = outline(32)
    assert net.head.in_features == 8192
    assert sum(p.numel() for p in net.parameters()) == convolutions + norms + 8192 * 10 + 10


@pytest.mark.parametrize(("size", "side"), [(8, 1), (28, 3), (32, 4), (33, 4), (37, 4), (64, 8)])
def test_the_classifier_reads_every_pixel_of_the_last_map(size: int, side: int) -> None:
    net = outline(size)
    assert net.head.in_features == 512 * side * side
    assert net(torch.empty(2, 3, size, size, device="meta")).shape == (2, 10)


def test_maps_shrink_after_the_second_fourth_and_sixth_convolution() -> None:
    net = outline(32)
    sides: list[tuple[int, int]] = []
    for unit in (net.stem, *net.features):
        unit.register_forward_hook(lambda _, __, y: sides.append((y.shape[1], y.shape[2])))
    net(torch.empty(1, 3, 32, 32, device="meta"))
    assert sides == [(128, 32), (128, 16), (256, 16), (256, 8), (512, 8), (512, 4)]


def test_pooling_comes_before_batch_norm() -> None:
    """A negative gain tells the orders apart: the maximum would become a minimum behind it."""
    unit = ConvUnit(1, 1, pooled=True, nonlinearity=lambda _: nn.Identity()).eval()
    nn.init.dirac_(unit.conv.weight)
    nn.init.constant_(unit.norm.weight, -2.0)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    torch.testing.assert_close(unit(x), torch.full((1, 1, 1, 1), -8 / (1 + unit.norm.eps) ** 0.5))
