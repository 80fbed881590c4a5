"""Operations and storage, against the published numbers and sums by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitlens import binarize
from bitlens.errors import BitlensError
from bitlens.models import create
from bitlens.models.layers import binary_layers
from bitlens.models.operations import SubBit, operations, sub_bit

PUBLISHED = {9: (1.6763, 10.985), 6: (0.8839, 7.324), 5: (0.5014, 6.103), 4: (0.2972, 4.882)}
"""Sub-bit nets, ResNet-18 at 224: 1-bit operations in 10^9 and index bits in 10^6, by tau."""


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return create(
        "resnet18-imagenet-bireal-fp1x1", method="bireal", classes=1000, channels=3, image_size=224
    )


@pytest.fixture(scope="module")
def counted(resnet18: nn.Module) -> dict[int, SubBit]:
    image = torch.zeros(1, 3, 224, 224)
    return {tau: sub_bit(resnet18, image, tau=tau) for tau in PUBLISHED}


@pytest.mark.parametrize("tau", PUBLISHED)
def test_sub_bit_counts_are_the_published_ones(counted: dict[int, SubBit], tau: int) -> None:
    gigas, megabits = PUBLISHED[tau]
    assert len(counted[tau].layers) == 16
    assert counted[tau].bops / 1e9 == pytest.approx(gigas, abs=5.1e-5)
    assert counted[tau].index_bits / 1e6 == pytest.approx(megabits, abs=5.1e-4)
    assert counted[tau].codebook_bits == (0 if tau == 9 else 16 * 9 * 2**tau)


def test_a_resnet18_has_the_operations_bireal_net_prints(resnet18: nn.Module) -> None:
    found = operations(resnet18, torch.zeros(1, 3, 224, 224))
    stem = 112 * 112 * 64 * 3 * 49
    shortcuts = sum((224 // s) ** 2 * c * 2 * c for s, c in ((8, 64), (16, 128), (32, 256)))
    assert found.flops == stem + shortcuts + 512 * 1000
    assert found.ops == found.flops + found.bops / 64
    assert found.ops == pytest.approx(1.63e8, rel=0.01)


def test_the_float_twin_has_no_one_bit_operation() -> None:
    settings = dict(classes=10, channels=1, image_size=16)
    image = torch.zeros(2, 1, 16, 16)
    binary = operations(create("resnet8-bireal-poolpad", method="bireal", **settings), image)
    real = operations(create("resnet8-bireal-poolpad", method="float", **settings), image)
    assert real.bops == 0 and binary.bops > 0
    assert real.flops == binary.flops + binary.bops


def test_a_stage_of_real_weights_counts_as_float() -> None:
    net = binarize(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)))
    x = torch.zeros(3, 6)
    assert operations(net, x).bops == 6 * 4 + 4 * 2
    binary_layers(net)["0"].binary_weights = False
    assert (operations(net, x).flops, operations(net, x).bops) == (6 * 4, 4 * 2)


def test_groups_share_only_within_a_group() -> None:
    net = binarize(nn.Conv2d(8, 40, 3, groups=2, bias=False))
    found = sub_bit(net, torch.zeros(1, 8, 6, 6), tau=2)
    # Each of 8 input channels meets 20 outputs at 4x4 positions; 4 patterns cost 36, 20 lookups 10.
    assert found.bops == 16 * 8 * (36 + 10)
    assert found.index_bits == 40 * 4 * 2 and found.codebook_bits == 36


def test_layers_of_other_kernels_stay_as_they_are() -> None:
    net = binarize(nn.Sequential(nn.Conv2d(8, 40, 1), nn.Flatten(), nn.Linear(160, 3)))
    found = sub_bit(net, torch.zeros(1, 8, 2, 2), tau=2)
    assert [layer.bops for layer in found.layers] == [4 * 8 * 40, 480]
    assert [layer.index_bits for layer in found.layers] == [320, 480]


@pytest.mark.parametrize("tau", [0, 10])
def test_an_index_width_that_no_kernel_has_is_refused(tau: int) -> None:
    with pytest.raises(BitlensError, match=f"tau={tau}"):
        sub_bit(binarize(nn.Conv2d(2, 2, 3)), torch.zeros(1, 2, 4, 4), tau=tau)
