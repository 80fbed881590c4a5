"""ReActNet-A against its layer list and the operations that its paper counts."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from bitlens.models.blocks import DoublingUnit, PoolPad
from bitlens.models.mobilenet import ReActNetA, reactnet_a

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


def outline(image_size: int, *, width: float = 1.0) -> ReActNetA:
    with torch.device("meta"):
        return reactnet_a(
            classes=1000,
            channels=3,
            image_size=image_size,
            nonlinearity=lambda _: nn.ReLU(),
            width=width,
        )


def geometry(net: nn.Module, side: int) -> list[tuple[int, int, int, int]]:
    """Of every convolution in order of use: channels in and out, kernel, side of its output."""
    rows: list[tuple[int, int, int, int]] = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda conv, _, y: rows.append(
                    (conv.in_channels, conv.out_channels, conv.kernel_size[0], y.shape[-1])
                )
            )
    net(torch.empty(2, 3, side, side, device="meta"))
    return rows


def test_parameter_count_is_that_of_the_layer_list() -> None:
    pairs = list(pairwise(WIDTHS))
    convolutions = 27 * 32 + sum(9 * i * i + i * o for i, o in pairs)
    norms = 2 * (32 + sum(i + o for i, o in pairs))
    parameters = sum(p.numel() for p in outline(224).parameters())
    assert parameters == convolutions + norms + 1024 * 1000 + 1000


def test_operations_are_those_of_the_paper() -> None:
    """The ReActNet paper tables 4.82e9 binary and 0.12e8 float ones at 224 pixels."""
    stem, *binary = geometry(outline(224), 224)
    count = sum(i * o * k * k * side * side for i, o, k, side in binary)
    assert round(count / 1e9, 2) == 4.82
    i, o, k, side = stem
    assert round((i * o * k * k * side * side + 1024 * 1000) / 1e8, 2) == 0.12


def test_units_follow_the_widths() -> None:
    rows = geometry(outline(224), 224)
    expected = [(3, 32, 3, 112)]
    sides = (112, 56, 56, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7)
    for (c_in, c_out), side in zip(pairwise(WIDTHS), sides, strict=True):
        expected.append((c_in, c_in, 3, side))
        expected += [(c_in, c_in, 1, side)] * (c_out // c_in)
    assert rows == expected


def test_shortcuts_hold_no_weight_and_pad_no_channel() -> None:
    shortcuts = [m for m in outline(224).modules() if isinstance(m, PoolPad)]
    assert [m.c_out for m in shortcuts] == [64, 128, 256, 512]
    assert all(not list(m.parameters()) for m in shortcuts)


def test_the_twin_convolutions_of_a_doubling_unit_share_their_input() -> None:
    net = outline(224)
    units = [m for m in net.modules() if isinstance(m, DoublingUnit)]
    assert len(units) == 5
    inputs: dict[nn.Module, torch.Tensor] = {}
    for unit in units:
        for group in unit.shared_inputs:
            for name in group:
                unit.get_submodule(name).register_forward_pre_hook(
                    lambda layer, given: inputs.update({layer: given[0]})
                )
    net(torch.empty(1, 3, 224, 224, device="meta"))
    for unit in units:
        (group,) = unit.shared_inputs
        left, right = (unit.get_submodule(name) for name in group)
        assert inputs[left] is inputs[right]


@pytest.mark.parametrize(
    ("size", "stem", "last"), [(16, 16, 1), (32, 32, 2), (63, 63, 4), (64, 32, 2), (224, 112, 7)]
)
def test_the_stem_strides_from_64_pixels_on(size: int, stem: int, last: int) -> None:
    rows = geometry(outline(size), size)
    assert (rows[0][-1], rows[-1][-1]) == (stem, last)


def test_doubling_survives_a_width_that_rounds() -> None:
    net = outline(32, width=0.3)
    assert net.stem.out_channels == 10
    assert net.head.in_features == 320
