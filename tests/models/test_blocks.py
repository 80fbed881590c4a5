"""Shortcuts against explicit loops, units against their formula written out."""

from __future__ import annotations

import math
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.models.blocks import (
    DoublingUnit,
    PairUnit,
    PooledProjection,
    PoolPad,
    SingleUnit,
    SlicePad,
    StridedProjection,
    check_sizes,
    scale_width,
)

M = TypeVar("M", bound=nn.Module)

shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7))


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def before(c_in: int, c_out: int) -> int:
    return (c_out - c_in) // 2


@settings(max_examples=40, deadline=None)
@given(shape=shapes, extra=st.integers(0, 5), stride=st.sampled_from((1, 2)))
def test_poolpad_averages_what_each_window_holds(
    shape: tuple[int, int, int, int], extra: int, stride: int
) -> None:
    x = random(*shape)
    n, c, h, w = shape
    rows, columns = math.ceil(h / stride), math.ceil(w / stride)
    expected = torch.zeros(n, c + extra, rows, columns)
    for image in range(n):
        for channel in range(c):
            for i in range(rows):
                for j in range(columns):
                    window = [
                        x[image, channel, a, b].item()
                        for a in range(i * stride, min((i + 1) * stride, h))
                        for b in range(j * stride, min((j + 1) * stride, w))
                    ]
                    place = before(c, c + extra) + channel
                    expected[image, place, i, j] = sum(window) / len(window)
    torch.testing.assert_close(PoolPad(c, c + extra, stride)(x), expected)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, extra=st.integers(0, 5), stride=st.sampled_from((1, 2)))
def test_slicepad_takes_the_top_left_pixel_of_each_window(
    shape: tuple[int, int, int, int], extra: int, stride: int
) -> None:
    x = random(*shape)
    n, c, h, w = shape
    rows, columns = math.ceil(h / stride), math.ceil(w / stride)
    expected = torch.zeros(n, c + extra, rows, columns)
    for channel in range(c):
        for i in range(rows):
            for j in range(columns):
                place = before(c, c + extra) + channel
                expected[:, place, i, j] = x[:, channel, i * stride, j * stride]
    assert torch.equal(SlicePad(c, c + extra, stride)(x), expected)


def test_doubled_channels_get_a_quarter_of_zeros_on_each_side() -> None:
    y = SlicePad(4, 8, 2)(torch.ones(1, 4, 2, 2))
    assert y.flatten().tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("shortcut", [PoolPad, SlicePad])
def test_a_padded_shortcut_refuses_fewer_channels(shortcut: type[nn.Module]) -> None:
    with pytest.raises(BitlensError, match="from 8 to 4 channels"):
        shortcut(8, 4, 2)


@pytest.mark.parametrize("size", range(1, 10))
@pytest.mark.parametrize("unit", [SingleUnit, PairUnit])
@pytest.mark.parametrize("shortcut", [PoolPad, SlicePad, StridedProjection, PooledProjection])
def test_a_striding_unit_halves_any_size_upwards(
    size: int, unit: type[SingleUnit | PairUnit], shortcut: type[nn.Module]
) -> None:
    made = unit(2, 4, stride=2, shortcut=shortcut, nonlinearity=nn.PReLU).eval()
    assert made(random(1, 2, size, size + 1)).shape == (
        1,
        4,
        math.ceil(size / 2),
        math.ceil((size + 1) / 2),
    )


def test_pooled_projection_is_mean_then_product_then_norm() -> None:
    shortcut = normalized(PooledProjection(3, 5, 2))
    x = random(2, 3, 4, 6)
    mean = x.reshape(2, 3, 2, 2, 3, 2).mean(dim=(3, 5))
    product = torch.einsum("nchw,oc->nohw", mean, shortcut.conv.weight[:, :, 0, 0])
    torch.testing.assert_close(shortcut(x), affine(shortcut.norm, product))


def test_strided_projection_is_subsampling_then_product_then_norm() -> None:
    shortcut = normalized(StridedProjection(3, 5, 2))
    x = random(2, 3, 5, 6)
    product = torch.einsum("nchw,oc->nohw", x[:, :, ::2, ::2], shortcut.conv.weight[:, :, 0, 0])
    torch.testing.assert_close(shortcut(x), affine(shortcut.norm, product))


def test_single_unit_adds_before_the_nonlinearity() -> None:
    unit = normalized(SingleUnit(3, 3, stride=1, shortcut=PoolPad, nonlinearity=hardtanh))
    x = random(2, 3, 5, 5)
    y = affine(unit.norm, F.conv2d(x, unit.conv.weight, padding=1))
    torch.testing.assert_close(unit(x), (y + x).clamp(-1, 1))


def test_pair_unit_adds_the_input_after_the_second_convolution() -> None:
    unit = normalized(PairUnit(2, 4, stride=2, shortcut=SlicePad, nonlinearity=hardtanh))
    x = random(2, 2, 6, 6)
    y = affine(unit.norm1, F.conv2d(x, unit.conv1.weight, stride=2, padding=1)).clamp(-1, 1)
    y = affine(unit.norm2, F.conv2d(y, unit.conv2.weight, padding=1))
    y[:, 1:3] += x[:, :, ::2, ::2]
    torch.testing.assert_close(unit(x), y.clamp(-1, 1))


def test_doubling_unit_adds_its_input_to_both_halves() -> None:
    unit = normalized(DoublingUnit(3, nonlinearity=hardtanh))
    x = random(2, 3, 4, 4)
    halves = [
        affine(norm, torch.einsum("nchw,oc->nohw", x, conv.weight[:, :, 0, 0])) + x
        for conv, norm in ((unit.left, unit.left_norm), (unit.right, unit.right_norm))
    ]
    torch.testing.assert_close(unit(x), torch.cat(halves, dim=1).clamp(-1, 1))


def test_nonlinearities_are_made_for_the_channels_they_see() -> None:
    seen: list[int] = []

    def record(c: int) -> nn.Module:
        seen.append(c)
        return nn.Identity()

    SingleUnit(2, 4, stride=2, shortcut=PoolPad, nonlinearity=record)
    PairUnit(3, 6, stride=2, shortcut=PoolPad, nonlinearity=record)
    DoublingUnit(5, nonlinearity=record)
    assert seen == [4, 6, 6, 10]


@pytest.mark.parametrize(
    ("base", "width", "channels"), [(64, 1.0, 64), (16, 0.5, 8), (16, 1.3, 21), (3, 0.4, 1)]
)
def test_width_rounds_to_whole_channels(base: int, width: float, channels: int) -> None:
    assert scale_width(base, width) == channels


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf, 0.01])
def test_a_width_without_channels_is_refused(width: float) -> None:
    with pytest.raises(BitlensError, match=f"width is {width}"):
        scale_width(16, width)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": 0}, "classes is 0"),
        ({"channels": -1}, "channels is -1"),
        ({"image_size": 7}, "image_size is 7, but the net needs at least 8"),
    ],
)
def test_impossible_sizes_are_named(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        check_sizes(
            "the net", **({"classes": 1, "channels": 1, "image_size": 8} | wrong), smallest=8
        )


def hardtanh(_: int) -> nn.Module:
    return nn.Hardtanh()


def normalized(module: M) -> M:
    """`module` in evaluation mode with batch norms that are no identity."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                assert isinstance(values, Tensor)
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    return module.eval()


def affine(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (x - norm.running_mean.view(-1, 1, 1)) * gain.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
