"""`create`: one draw of initial weights, whatever the method."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitlens import BitlensError
from bitlens.methods import METHODS
from bitlens.models import create
from bitlens.models.layers import BinaryLayer, binary_layers


def make(method: str, *, seed: int = 3, name: str = "resnet8-bireal-poolpad") -> nn.Module:
    return create(name, method=method, classes=5, channels=1, image_size=16, seed=seed)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_from_the_float_twins_weights(method: str) -> None:
    twin, net = make("float"), make(method)
    start = dict(net.named_parameters())
    for name, value in twin.named_parameters():
        assert torch.equal(start[name], value)
    assert len(binary_layers(net)) == 6 and not binary_layers(twin)
    assert {layer.method_name for layer in binary_layers(net).values()} == {method}


def test_the_float_twin_has_relus_and_a_binary_net_its_methods_own() -> None:
    def kinds(net: nn.Module) -> set[str]:
        return {type(m).__name__ for n, m in net.named_modules() if n.endswith(".act")}

    assert kinds(make("float")) == {"ReLU"}
    assert kinds(make("bnn")) == {"Hardtanh"}
    assert kinds(make("bireal")) == {"Identity"}
    assert kinds(make("reactnet")) == {"RPReLU"}


def test_seeds_decide_the_draw() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return [p for p in make("float", seed=seed).parameters() if p.dim() > 1]

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(weights(1), weights(2), strict=True))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(11)
    expected = torch.randn(3)
    torch.manual_seed(11)
    make("bireal")
    assert torch.equal(torch.randn(3), expected)


def test_no_other_devices_generator_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    make("bireal")
    assert seeded == []


def test_a_new_net_is_in_training_mode() -> None:
    assert all(module.training for module in make("irnet").modules())


def test_the_stem_and_the_head_stay_float() -> None:
    net = make("xnor")
    assert not isinstance(net.get_submodule("stem"), BinaryLayer)
    assert not isinstance(net.get_submodule("head"), BinaryLayer)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "resnet8"}, "unknown model 'resnet8'; did you mean"),
        ({"name": "vgg"}, "unknown model 'vgg'; did you mean vgg-small"),
        ({"method": "flaot"}, "unknown method 'flaot'; did you mean float"),
        ({"method": "ir-net"}, "unknown method 'ir-net'; did you mean irnet"),
        ({"classes": 1}, "classes=1; a classifier needs at least 2"),
        ({"image_size": 2}, "image_size is 2"),
    ],
)
def test_a_wrong_argument_is_named(changed: dict[str, object], message: str) -> None:
    arguments = {"name": "resnet8-bireal-poolpad", "method": "bireal", "classes": 5}
    with pytest.raises(BitlensError, match=message):
        create(**{**arguments, "channels": 1, "image_size": 16, **changed})
