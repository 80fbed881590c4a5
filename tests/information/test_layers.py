"""Which layers a plane shows, in which order, and how each is read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitlens
from bitlens.errors import BitlensError
from bitlens.information.layers import Tap, find_taps, listening
from bitlens.methods.contract import Sign
from bitlens.models import create
from bitlens.models.layers import BinaryLinear

X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def names(net: nn.Module, layers: str | list[str] | None = None, x: Tensor = X) -> list[str]:
    return [tap.name for tap in find_taps(net.eval(), lambda: net(x), layers)]


def readings(net: nn.Module, layers: str | None = None, x: Tensor = X) -> dict[str, Tensor]:
    """What is taken at each tap in one pass."""
    seen: dict[str, Tensor] = {}

    def keep(tap: Tap, rows: Tensor) -> None:
        seen[tap.name] = rows.clone()

    taps = find_taps(net.eval(), lambda: net(x), layers)
    with listening(net, taps, keep):
        net(x)
    return seen


def net_of(model: str = "resnet8-bireal-poolpad", method: str = "bireal") -> nn.Module:
    return create(model, method=method, classes=4, channels=3, image_size=8)


def test_binary_nets_are_read_at_their_signs_in_order_of_execution() -> None:
    net = net_of()
    found = find_taps(net.eval(), lambda: net(X), None)
    assert [tap.name for tap in found] == [
        f"stages.{stage}.{unit}.conv" for stage in range(3) for unit in range(2)
    ]
    assert all(isinstance(tap.module, Sign) and tap.readout == "signs" for tap in found)


def test_registration_order_does_not_matter() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Tanh(), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x))

    assert names(Backwards()) == ["first", "last"]


def test_float_twins_are_read_before_their_activation_functions() -> None:
    net = net_of("mlp", "float")
    found = find_taps(net.eval(), lambda: net(X), None)
    assert [tap.name for tap in found] == ["stem.act", "hidden.0.act", "hidden.1.act"]
    assert {tap.readout for tap in found} == {"input signs"}


def test_a_float_twin_and_its_binary_net_share_the_alphabet() -> None:
    """The sign of the twin's first activation input is the code of the first binary layer."""
    net = net_of("mlp", "bnn")
    seen = readings(net, "hidden.0.linear,stem.act")
    assert list(seen) == ["stem.act", "hidden.0.linear"]
    assert torch.equal(seen["stem.act"] >= 0, seen["hidden.0.linear"] >= 0)


def test_names_prefixes_and_globs() -> None:
    net = net_of()
    assert names(net, "stages.1") == ["stages.1.0.conv", "stages.1.1.conv"]
    assert names(net, "*.1.conv") == ["stages.0.1.conv", "stages.1.1.conv", "stages.2.1.conv"]
    assert names(net, ["stages.2.1.conv", "stages.0.0.conv"]) == [
        *("stages.0.0.conv", "stages.2.1.conv"),
    ]
    assert names(net, []) == []
    # Signs first: the activation functions inside the stage are reached by their own names.
    assert names(net, "stages.0.0") == ["stages.0.0.conv"]
    assert names(net, "stages.0.0.act") == ["stages.0.0.act"]


def test_any_module_can_be_named_and_is_read_at_its_output() -> None:
    net = net_of()
    (tap,) = find_taps(net.eval(), lambda: net(X), "stem_norm")
    assert (tap.name, tap.readout) == ("stem_norm", "output signs")
    assert torch.equal(readings(net, "stem_norm")["stem_norm"], net.stem_norm(net.stem(X)))


def test_unknown_names_are_told_the_near_ones() -> None:
    with pytest.raises(
        BitlensError, match=r"'stages.1.3.conv' matches no layer; did you mean stages.1"
    ):
        names(net_of(), "stages.1.3.conv")
    with pytest.raises(BitlensError, match=r"'zzz' matches no layer; layers: stages.0.0.conv, "):
        names(net_of(), "zzz")


def test_a_module_that_runs_twice_makes_two_layers() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.act(x - 1) - 1)

    seen = readings(Twice())
    assert list(seen) == ["act", "act#2"]
    # Read before the function works in place.
    assert torch.equal(seen["act"], X - 1)
    assert torch.equal(seen["act#2"], (X - 1).relu() - 1)


def test_layers_with_one_binarizer_are_one_layer() -> None:
    net = create("reactnet-a", method="reactnet", classes=4, channels=3, image_size=32)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = names(net, x=x)
    doubling = [name for name in found if ".left" in name or ".right" in name]
    assert doubling and not any("right" in name or "#" in name for name in doubling)


def chain(method: str = "bnn") -> nn.Sequential:
    """4 -> 4 -> 4 -> 4 -> 2; layers 1 and 2 are binary."""
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)), nn.Linear(4, 2))
    return bitlens.binarize(net, method, keep_float=("0", "3"))


ROWS = torch.randn(8, 4, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("method", ["bnn", "reactnet"])
def test_one_binarizer_at_two_depths_makes_two_layers(method: str) -> None:
    net = chain(method)
    plain = readings(net, x=ROWS)
    assert list(plain) == ["1", "2"]
    net[2].activation = net[1].activation
    shared = readings(net, x=ROWS)
    assert list(shared) == ["1", "1#2"]
    assert torch.equal(shared["1"], plain["1"]) and torch.equal(shared["1#2"], plain["2"])


def test_a_sign_in_two_binarizers_is_followed_too() -> None:
    net = chain()
    net[2].activation.sign = net[1].activation.sign
    assert names(net, x=ROWS) == ["1", "1#2"]


def test_memory_that_is_used_again_is_another_tensor() -> None:
    """Without gradients a deep layer's input lies where that of an early layer was."""
    torch.manual_seed(0)
    net = bitlens.binarize(nn.Sequential(*(nn.Linear(512, 512) for _ in range(12))), "bnn")
    first, *others = (layer for layer in net if isinstance(layer, BinaryLinear))
    for layer in others:
        layer.activation = first.activation
    with torch.no_grad():
        assert len(names(net, x=torch.ones(8, 512))) == 1 + len(others) == 10


def test_equal_values_in_another_tensor_are_another_layer() -> None:
    """A block that does nothing yet, as where residual branches begin at 0."""

    class Copies(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = chain()
            self.net[2].activation = self.net[1].activation

        def forward(self, x: Tensor) -> Tensor:
            self.net[1](x)
            self.net[1](x)
            x = x.clone()
            self.net[2](x)
            x += 1
            return self.net[2](x)

    assert names(Copies(), x=ROWS) == ["net.1", "net.1#2", "net.1#3"]


def test_globs_reach_modules_that_are_neither_signs_nor_activations() -> None:
    net = nn.Sequential()
    net.fc1, net.act1, net.fc2 = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
    assert names(net, "fc*", x=ROWS) == ["fc1", "fc2"]
    assert names(net, "*1", x=ROWS) == ["act1"], "activation modules come first"


def test_lists_of_modules_are_never_run_and_no_layers() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 2)])

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks[1](self.blocks[0](x))

    assert names(Listed(), "bl*", x=ROWS) == ["blocks.0", "blocks.1"]
    # As a prefix, too.
    assert names(Listed(), "blocks", x=ROWS) == ["blocks.0", "blocks.1"]


def test_empty_parts_and_the_prediction_are_no_names() -> None:
    net = nn.Sequential()
    net.fc1, net.act1 = nn.Linear(4, 4), nn.ReLU()
    assert names(net, "act1,", x=ROWS) == names(net, [" act1", ""], x=ROWS) == ["act1"]
    assert names(net, "act1, prediction", x=ROWS) == ["act1"]
    assert names(net, "prediction", x=ROWS) == []


@pytest.mark.parametrize(("layers", "why"), [(3, "layers=3; give names"), ([3], "layers holds 3")])
def test_what_is_no_name(layers: Any, why: str) -> None:
    with pytest.raises(BitlensError, match=why):
        names(nn.Sequential(nn.ReLU()), layers, x=ROWS)


def test_rows_that_a_linear_layer_flattened_belong_to_their_samples() -> None:
    net = bitlens.binarize(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "bnn", keep_float=())
    x = torch.randn(8, 5, 4, generator=torch.Generator().manual_seed(3))
    seen = readings(net, "0", x)["0"]
    assert torch.equal(seen.reshape(8, -1), x.reshape(8, -1))


def test_layers_that_cannot_be_read() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.spare = nn.Linear(8, 8), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.linear(x))

    net = Functional()
    assert names(net, "linear") == ["linear"]
    with pytest.raises(BitlensError, match="'spare' is not reached"):
        names(net, "spare")
    with pytest.raises(BitlensError, match="'spare' is not reached"):
        names(net)
    net.spare = nn.Identity()
    with pytest.raises(BitlensError, match="neither binary layers nor activation modules"):
        names(net)
    net.prediction = nn.Tanh()
    net.forward = lambda x: net.prediction(x)
    with pytest.raises(BitlensError, match="rename the module"):
        names(net)


def test_values_without_samples_are_refused() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(0)[:2, :2, :2]

    net = nn.Sequential(nn.Flatten(0, 2), nn.Tanh())
    assert readings(net)["1"].shape == (8, 3 * 8 * 8)
    net = nn.Sequential(Mean(), nn.Flatten(0), nn.Tanh(), nn.Unflatten(0, (2, 4)))
    assert names(net) == ["2"]
    with pytest.raises(BitlensError, match=r"layer '2' gives \(8,\) for 3 samples"):
        readings(net, x=X[:3])
