"""What every named net promises: its shortcuts, its float layers, its shapes and its float twin."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bitlens.errors import BitlensError
from bitlens.models.blocks import (
    FloatNet,
    Nonlinearity,
    PairUnit,
    PooledProjection,
    PoolPad,
    SingleUnit,
    SlicePad,
    StridedProjection,
)
from bitlens.models.gated import BNextUnit, RealToBinaryUnit
from bitlens.models.nets import NETS

UNITS = {
    "bireal": SingleUnit,
    "normal": PairUnit,
    "r2b": RealToBinaryUnit,
    "bnext": BNextUnit,
}
SHORTCUTS = (PoolPad, SlicePad, StridedProjection, PooledProjection)
SMALLEST = {"mlp": 1, "vgg-small": 8, "reactnet-a": 16}


def relu(_: int) -> nn.Module:
    return nn.ReLU()


def smallest(name: str) -> int:
    """Side of the smallest image: halvings by hand, from the papers' layer lists."""
    if name in SMALLEST:
        return SMALLEST[name]
    if "imagenet" in name:
        return 32
    return 8 if name.startswith("resnet18") else 4


def outline(name: str, *, image_size: int = 64) -> FloatNet:
    """The full-width net without memory for its weights."""
    with torch.device("meta"):
        return NETS[name].build(classes=10, channels=3, image_size=image_size, nonlinearity=relu)


def small(name: str, *, seed: int = 0, nonlinearity: Nonlinearity = relu) -> FloatNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETS[name].build(
            classes=5, channels=3, image_size=32, nonlinearity=nonlinearity, width=0.25
        )


def weighted(net: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def kept_float(net: FloatNet) -> list[str]:
    return [
        name
        for name in weighted(net)
        if any(fnmatchcase(name, pattern) for pattern in net.keep_float)
    ]


def test_the_names_are_the_planned_ones() -> None:
    assert sorted(NETS) == [
        "mlp",
        "reactnet-a",
        "resnet18-bireal-fp1x1",
        "resnet18-imagenet-bireal-fp1x1",
        "resnet18-imagenet-normal-fp1x1",
        "resnet18-normal-bin1x1",
        "resnet18-normal-fp1x1",
        "resnet18-normal-poolpad",
        "resnet20-bireal-poolpad",
        "resnet20-bireal-slicepad",
        "resnet20-bnext-poolpad",
        "resnet20-normal-slicepad",
        "resnet20-r2b-poolpad",
        "resnet34-imagenet-bireal-fp1x1",
        "resnet8-bireal-poolpad",
        "resnet8-bnext-poolpad",
        "resnet8-r2b-poolpad",
        "vgg-small",
    ]
    assert all(net.about and net.paper for net in NETS.values())


@pytest.mark.parametrize("name", [name for name in NETS if name.startswith("resnet")])
def test_shortcuts_are_the_kind_in_the_name(name: str) -> None:
    net = outline(name)
    _, *_, span, kind = name.split("-")
    expected = {
        "poolpad": PoolPad,
        "slicepad": SlicePad,
        "bin1x1": StridedProjection,
        "fp1x1": PooledProjection if span == "bireal" else StridedProjection,
    }[kind]
    found = [module for module in net.modules() if isinstance(module, SHORTCUTS)]
    stages = 4 if "18" in name or "34" in name else 3
    assert [type(module) for module in found] == [expected] * (stages - 1)
    units = {type(m) for m in net.modules() if isinstance(m, tuple(UNITS.values()))}
    assert units == {UNITS[span]}
    kept = kept_float(net)
    projections = [n for n in weighted(net) if ".shortcut." in n]
    assert len(projections) == (stages - 1 if kind.endswith("1x1") else 0)
    gates = [n for n in weighted(net) if ".gate." in n]
    assert bool(gates) == (span in ("r2b", "bnext"))
    assert kept == ["stem", *(projections if kind == "fp1x1" else []), *gates, "head"]


@pytest.mark.parametrize("name", NETS)
def test_every_keep_float_pattern_names_a_layer_and_the_ends_are_kept(name: str) -> None:
    net = outline(name)
    layers = list(weighted(net))
    for pattern in net.keep_float:
        assert any(fnmatchcase(layer, pattern) for layer in layers), pattern
    kept = kept_float(net)
    assert kept[0] == layers[0] and kept[-1] == layers[-1]
    assert len(kept) < len(layers)


@pytest.mark.parametrize("name", NETS)
def test_only_the_head_has_a_bias_beside_batch_norm(name: str) -> None:
    biased = [n for n, layer in weighted(outline(name)).items() if layer.bias is not None]
    assert [n for n in biased if "bnext" not in name or ".gate." not in n] == ["head"]


@pytest.mark.parametrize("name", NETS)
def test_logits_come_out_of_any_square_image_that_is_large_enough(name: str) -> None:
    for size in (smallest(name), 28, 32, 37, 64):
        if size >= smallest(name):
            images = torch.empty(2, 3, size, size, device="meta")
            assert outline(name, image_size=size)(images).shape == (2, 10)


@pytest.mark.parametrize("name", [name for name in NETS if name != "mlp"])
def test_a_smaller_image_than_the_strides_need_is_refused(name: str) -> None:
    size = smallest(name) - 1
    with pytest.raises(BitlensError, match=f"image_size is {size},.* at least {smallest(name)} "):
        outline(name, image_size=size)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("argument", ["classes", "channels"])
def test_no_class_or_no_channel_is_refused(name: str, argument: str) -> None:
    sizes = {"classes": 10, "channels": 3} | {argument: 0}
    with pytest.raises(BitlensError, match=f"{argument} is 0"):
        NETS[name].build(**sizes, image_size=64, nonlinearity=relu)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_of_the_float_twin_learns(name: str) -> None:
    net = small(name)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    F.cross_entropy(net(images), torch.arange(4)).backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", NETS)
def test_nets_differ_only_in_the_nonlinearity_they_are_given(name: str) -> None:
    twin = small(name)
    other = small(name, nonlinearity=lambda _: nn.Identity())
    assert [n for n, _ in twin.named_modules()] == [n for n, _ in other.named_modules()]
    weights = other.state_dict()
    for key, value in twin.state_dict().items():
        assert torch.equal(value, weights[key]), key


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet8-bireal-poolpad", ["stages.0.1", "stages.1.1", "stages.2.1"]),
        ("resnet8-r2b-poolpad", ["stages.0.1", "stages.1.1", "stages.2.1"]),
        (
            "resnet18-normal-fp1x1",
            [f"stages.{stage}.{unit}" for stage in range(4) for unit in range(2)],
        ),
        (
            "resnet18-imagenet-bireal-fp1x1",
            [f"stages.{stage}.{unit}" for stage in range(4) for unit in (1, 3)],
        ),
        ("reactnet-a", [f"features.{place}" for place in range(1, 26, 2)]),
        ("vgg-small", []),
        ("mlp", []),
    ],
)
def test_blocks_are_pairs_of_convolutions(name: str, blocks: list[str]) -> None:
    """Real-to-Binary matches the eight blocks of a ResNet-18."""
    net = outline(name)
    assert list(net.blocks) == blocks
    for block in net.blocks:
        net.get_submodule(block)
