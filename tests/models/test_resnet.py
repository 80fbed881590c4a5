"""Residual nets against layer lists counted by hand and the well-known counts of float ResNets."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from bitlens.errors import BitlensError
from bitlens.models.nets import NETS
from bitlens.models.resnet import ResNet, ResNetPlan, resnet

PLAN = ResNetPlan(
    base=8, convs=(2, 2), span=1, shortcut="poolpad", stem="small", stem_act=True, head_norm=True
)


def outline(name: str, *, classes: int = 10) -> nn.Module:
    with torch.device("meta"):
        return NETS[name].build(
            classes=classes, channels=3, image_size=64, nonlinearity=lambda _: nn.ReLU()
        )


def size(name: str, *, classes: int = 10) -> int:
    return sum(p.numel() for p in outline(name, classes=classes).parameters())


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


@pytest.mark.parametrize("kind", ["bireal-poolpad", "bireal-slicepad", "normal-slicepad"])
def test_resnet20_has_the_weights_of_its_layer_list(kind: str) -> None:
    convolutions = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    norms = 2 * (16 + 6 * 16 + 6 * 32 + 6 * 64 + 64)
    assert size(f"resnet20-{kind}") == convolutions + norms + (64 * 10 + 10)
    # 269,722 is the known size of the float CIFAR ResNet-20 with option A; 2 * 64 the norm before
    # the classifier, which only the binary papers have.
    assert size(f"resnet20-{kind}") == 269_722 + 2 * 64


def test_resnet8_has_six_binary_convolutions_beside_its_stem() -> None:
    assert geometry(outline("resnet8-bireal-poolpad"), 32) == [
        (3, 16, 3, 32),
        (16, 16, 3, 32),
        (16, 16, 3, 32),
        (16, 32, 3, 16),
        (32, 32, 3, 16),
        (32, 64, 3, 8),
        (64, 64, 3, 8),
    ]


def test_cifar_resnet18_sizes_follow_from_the_float_net() -> None:
    # 11,173,962 is the known size of the float CIFAR ResNet-18 with option B.
    float_size, head_norm = 11_173_962, 2 * 512
    projections = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert size("resnet18-bireal-fp1x1") == float_size
    assert size("resnet18-normal-fp1x1") == float_size + head_norm
    assert size("resnet18-normal-bin1x1") == float_size + head_norm
    assert size("resnet18-normal-poolpad") == float_size + head_norm - projections


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("resnet18-imagenet-normal-fp1x1", 11_689_512),
        ("resnet18-imagenet-bireal-fp1x1", 11_689_512),
        ("resnet34-imagenet-bireal-fp1x1", 21_797_672),
    ],
)
def test_imagenet_nets_have_the_size_of_the_float_resnet(name: str, known: int) -> None:
    assert size(name, classes=1000) == known


@pytest.mark.parametrize("span", ["normal", "bireal"])
def test_imagenet_resnet18_has_the_known_multiplications(span: str) -> None:
    rows = geometry(outline(f"resnet18-imagenet-{span}-fp1x1", classes=1000), 224)
    convolutions = sum(i * o * k * k * side * side for i, o, k, side in rows)
    assert convolutions + 512 * 1000 == 1_814_073_344
    assert sorted(row for row in rows if row[2] == 1) == [
        (64, 128, 1, 28),
        (128, 256, 1, 14),
        (256, 512, 1, 7),
    ]


def test_bireal_resnet18_multiplies_binary_what_its_paper_counts() -> None:
    rows = geometry(outline("resnet18-imagenet-bireal-fp1x1"), 224)
    binary = sum(i * o * k * k * side * side for i, o, k, side in rows if k == 3)
    assert round(binary / 1e9, 2) == 1.68


@pytest.mark.parametrize(
    ("name", "acts", "pools", "head_norm"),
    [
        ("resnet20-bireal-poolpad", True, False, True),
        ("resnet20-bireal-slicepad", True, False, True),
        ("resnet20-normal-slicepad", True, False, True),
        ("resnet18-normal-fp1x1", False, False, True),
        ("resnet18-bireal-fp1x1", False, False, False),
        ("resnet18-imagenet-bireal-fp1x1", False, True, False),
        ("resnet34-imagenet-bireal-fp1x1", False, True, False),
        ("resnet18-imagenet-normal-fp1x1", True, True, False),
    ],
)
def test_stem_and_head_follow_the_papers(
    name: str, acts: bool, pools: bool, head_norm: bool
) -> None:
    net = outline(name)
    assert isinstance(net, ResNet)
    assert isinstance(net.stem_act, nn.ReLU) == acts
    assert isinstance(net.stem_pool, nn.MaxPool2d) == pools
    assert isinstance(net.head_norm, nn.BatchNorm1d) == head_norm


def test_a_net_of_one_unit_is_its_formula() -> None:
    plan = replace(PLAN, convs=(1,), stem_act=False, head_norm=False)
    net = resnet(
        plan, classes=3, channels=1, image_size=5, nonlinearity=lambda _: nn.Hardtanh()
    ).eval()
    x = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    shrink = (1 + net.stem_norm.eps) ** -0.5
    y = net.stem(x) * shrink
    y = (net.get_submodule("stages.0.0.conv")(y) * shrink + y).clamp(-1, 1)
    torch.testing.assert_close(net(x), net.head(y.mean(dim=(2, 3))))


@pytest.mark.parametrize("convs", [(), (3, 3), (2, 0)])
def test_stages_that_cannot_be_cut_into_pairs_are_refused(convs: tuple[int, ...]) -> None:
    with pytest.raises(BitlensError, match="multiple of the span 2"):
        replace(PLAN, span=2, convs=convs)


def test_a_gated_unit_over_two_convolutions_is_refused() -> None:
    with pytest.raises(
        BitlensError, match="'r2b' has a shortcut over one convolution, but span is 2"
    ):
        replace(PLAN, span=2, unit="r2b")


def test_a_stage_of_an_odd_number_of_units_ends_in_a_block() -> None:
    assert replace(PLAN, convs=(3, 1)).blocks == ("stages.0.1", "stages.0.2", "stages.1.0")


@pytest.mark.parametrize(("stem", "stride"), [("small", 8), ("large", 32)])
def test_the_stride_is_what_the_image_shrinks_by(
    stem: Literal["small", "large"], stride: int
) -> None:
    plan = replace(PLAN, stem=stem, convs=(1, 1, 1, 1))
    assert plan.stride == stride
    net = resnet(plan, classes=2, channels=3, image_size=64, nonlinearity=lambda _: nn.ReLU())
    rows = geometry(net.to("meta"), 64)
    assert rows[-1][-1] == 64 // stride
