"""`binarize` on the nets people bring: what becomes binary, what stays float, and what is refused."""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from bitlens import BitlensError, binarize, set_progress, summary
from bitlens.methods.bireal import BIREAL
from bitlens.methods.contract import ActivationBinarizer, Method, Progress, own_nonlinearity
from bitlens.models import create
from bitlens.models.blocks import DoublingUnit
from bitlens.models.layers import BinaryConv2d, BinaryLayer, BinaryLinear, binary_layers
from bitlens.training.diagnostics import CodeStatistics, constant_codes


class Net(nn.Module):
    """Stem, two blocks with a ReLU, a downsample in the second, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.block1 = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3, padding=1), "act": nn.ReLU()})
        self.block2 = nn.ModuleDict(
            {
                "conv": nn.Conv2d(4, 8, 3, padding=1),
                "downsample": nn.Conv2d(4, 8, 1),
                "act": nn.ReLU6(),
            }
        )
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.block1["act"](self.block1["conv"](x)) + x
        x = self.block2["act"](self.block2["conv"](x) + self.block2["downsample"](x))
        return self.head(x.mean((2, 3)))


def mlp(*widths: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))


def names(net: nn.Module) -> list[str]:
    return list(binary_layers(net))


def whys(net: nn.Module) -> dict[str, str]:
    return {row.name: row.why for row in summary(net).rows}


@pytest.mark.parametrize(
    ("keep_float", "expected"),
    [
        (None, ["block1.conv", "block2.conv", "block2.downsample"]),
        ((), ["stem", "block1.conv", "block2.conv", "block2.downsample", "head"]),
        (("head",), ["stem", "block1.conv", "block2.conv", "block2.downsample"]),
        (("block2",), ["stem", "block1.conv", "head"]),
        (("*.downsample", "stem"), ["block1.conv", "block2.conv", "head"]),
        (("block?.conv",), ["stem", "block2.downsample", "head"]),
    ],
)
def test_keep_float_takes_names_prefixes_and_globs(
    keep_float: tuple[str, ...] | None, expected: list[str]
) -> None:
    net = binarize(Net(), keep_float=keep_float)
    assert names(net) == expected
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 2)


def test_the_net_is_changed_in_place_and_shares_its_latent_weights() -> None:
    net = Net()
    weight = net.block1["conv"].weight
    assert binarize(net) is net
    assert net.get_parameter("block1.conv.weight") is weight


@pytest.mark.parametrize("depth", [1, 2])
def test_of_one_or_two_layers_none_stays_float_by_default(depth: int) -> None:
    assert len(names(binarize(mlp(*[4] * (depth + 1))))) == depth
    assert names(binarize(mlp(4, 4, 4, 4))) == ["1"]


def test_a_prefix_ends_at_a_dot() -> None:
    net = nn.ModuleDict({"conv1": nn.Conv2d(1, 1, 1), "conv10": nn.Conv2d(1, 1, 1)})
    assert names(binarize(net, keep_float=("conv1",))) == ["conv10"]


@pytest.mark.parametrize("source", [nn.Conv2d(2, 3, 3), nn.Linear(2, 3)])
def test_a_bare_layer_comes_back_as_a_binary_one(source: nn.Module) -> None:
    layer = binarize(source)
    assert isinstance(layer, BinaryConv2d | BinaryLinear)
    assert layer.weight is source.weight
    set_progress(layer, 0.5)
    assert layer.get_buffer(Progress.BUFFER) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep_float": ("heat",)}, "'heat' matches no module; did you mean head"),
        ({"keep_float": ("zzzz*",)}, "'zzzz\\*' matches no module; layers: stem, block1.conv"),
        ({"keep_float": ("head", "")}, "'' matches no module"),
        ({"keep_float": "head"}, r"keep_float='head' is a string; write \('head',\)"),
        ({"keep_float": ("*",)}, "no Conv2d or Linear layer left .*'stem'.*smaller keep_float"),
        ({"method": "birel"}, "unknown method 'birel'; did you mean bireal"),
        ({"relu": "hardtan"}, "unknown relu 'hardtan'; did you mean hardtanh"),
        ({"pad": 2}, "pad=2; a padded position is 0, 1 or -1"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_changes(
    arguments: dict[str, Any], message: str
) -> None:
    net = Net()
    before = str(net)
    with pytest.raises(BitlensError, match=message):
        binarize(net, **arguments)
    assert str(net) == before


def test_a_binary_net_is_refused() -> None:
    net = binarize(Net())
    with pytest.raises(BitlensError, match="already has binary layers"):
        binarize(net)
    with pytest.raises(BitlensError, match="already has binary layers"):
        binarize(nn.Sequential(nn.Linear(3, 3), net))


def test_a_net_without_layers_is_refused_with_the_reasons() -> None:
    with pytest.raises(BitlensError, match=r"no Conv2d or Linear layer to make binary$"):
        binarize(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))
    with pytest.raises(BitlensError, match=r"to make binary \(0: no binary LSTM\)"):
        binarize(nn.Sequential(nn.LSTM(3, 3)))


def test_a_lazy_layer_is_refused_until_it_has_a_weight() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(
        BitlensError, match="layer '0' is lazy and has no weight yet; run one forward"
    ):
        binarize(net)
    with torch.no_grad():
        net(torch.randn(1, 1, 5, 5))
    assert names(binarize(net)) == ["0", "2"]


class Standardized(nn.Conv2d):
    """Uses its weight in its own way, as weight-standardised convolutions do."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight - self.weight.mean(), self.bias)


def test_a_subclass_stays_float() -> None:
    net = binarize(nn.Sequential(Standardized(1, 2, 3), nn.Conv2d(2, 2, 1)), keep_float=())
    assert names(net) == ["1"]
    assert whys(net)["0"] == "Standardized uses its weight in its own way"


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mix = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.mix(self.attention(x, x, x)[0])


def test_attention_keeps_its_projection_and_still_runs() -> None:
    net = binarize(Attention(), keep_float=())
    assert names(net) == ["embed", "mix"]
    reasons = whys(net)
    assert reasons["attention.out_proj"] == "its weight is used inside MultiheadAttention"
    assert reasons["attention"] == "no binary MultiheadAttention"
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(net.train()(x), net.eval()(x))


@pytest.mark.parametrize("activation", [F.relu, nn.ReLU()])
def test_an_encoder_layer_computes_the_same_with_and_without_gradients(activation: Any) -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, batch_first=True)
    net = binarize(nn.Sequential(nn.Linear(5, 8), encoder, nn.Linear(8, 2)), keep_float=())
    assert names(net) == ["0", "2"]
    assert whys(net)["1.linear1"] == "its weight is used inside TransformerEncoderLayer"
    x = torch.randn(3, 4, 5)
    slow = net.eval()(x)
    with torch.no_grad():
        fast = net(x)
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("how", ["weight_norm", "spectral_norm", "orthogonal", "prune", "old norm"])
def test_a_computed_weight_keeps_its_layer_float(how: str) -> None:
    layer = nn.Linear(4, 4)
    if how == "prune":
        prune.l1_unstructured(layer, "weight", amount=0.5)
    elif how == "old norm":
        torch.nn.utils.spectral_norm(layer)
    else:
        getattr(parametrizations, how)(layer)
    net = nn.Sequential(layer, nn.Linear(4, 2))
    before = {id(p) for p in net.parameters()}
    binarize(net, keep_float=())
    assert names(net) == ["1"]
    assert {id(p) for p in net.parameters()} == before
    assert whys(net)["0"].startswith("its weight is computed from other tensors")
    net(torch.randn(3, 4)).sum().backward()


def test_a_weight_tied_to_an_embedding_stays_float() -> None:
    net = nn.ModuleDict({"embed": nn.Embedding(9, 4), "mix": nn.Linear(4, 4)})
    net["head"] = nn.Linear(4, 9)
    net["head"].weight = net["embed"].weight
    binarize(net, keep_float=())
    assert names(net) == ["mix"]
    assert whys(net)["head"] == "its weight is shared with 'embed'"


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.tower = nn.Sequential(nn.Linear(4, 4), self.first, nn.Linear(4, 4))
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.tower(self.first(x)))


def test_a_module_used_in_several_places_becomes_one_object() -> None:
    net = binarize(Twice(), keep_float=())
    assert isinstance(net.first, BinaryLinear)
    assert net.tower[1] is net.first and net.again is net.first
    assert names(net) == ["first", "tower.0", "tower.2"]
    net(torch.randn(2, 4)).sum().backward()


@pytest.mark.parametrize("pattern", ["first", "tower.1", "again"])
def test_keep_float_knows_a_shared_module_by_each_of_its_names(pattern: str) -> None:
    net = binarize(Twice(), keep_float=(pattern,))
    assert names(net) == ["tower.0", "tower.2"]
    assert net.tower[1] is net.first and type(net.first) is nn.Linear


def test_relu_becomes_hardtanh_unless_kept() -> None:
    converted, kept = binarize(Net()), binarize(Net(), relu="keep")
    for block in ("block1.act", "block2.act"):
        assert type(converted.get_submodule(block)) is nn.Hardtanh
    assert type(kept.get_submodule("block1.act")) is nn.ReLU
    assert type(kept.get_submodule("block2.act")) is nn.ReLU6


@pytest.mark.parametrize("method", ["bnn", "reactnet"])
def test_dtype_and_mode_of_the_net_stay(method: str) -> None:
    net = binarize(Net().double().eval(), method)
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert not any(module.training for module in net.modules())
    assert net(torch.randn(2, 3, 8, 8, dtype=torch.float64)).dtype == torch.float64


def test_the_device_of_the_net_stays() -> None:
    with torch.device("meta"):
        net = Net()
    binarize(net, "reactnet")
    tensors = [*net.parameters(), *net.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_frozen_weights_stay_frozen() -> None:
    net = mlp(4, 4, 4, 4).requires_grad_(False)
    assert not any(p.requires_grad for p in binarize(net, "bireal").parameters())


class Wrapper(nn.Module):
    """Hands unknown attributes on to the net inside, as compiled and averaged nets do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


def test_progress_reaches_a_net_inside_wrappers() -> None:
    inner = binarize(mlp(4, 4, 4, 4), "irnet")
    outer = nn.Sequential(Wrapper(inner), binarize(mlp(4, 4, 4, 4), "irnet"))
    set_progress(outer, 0.25)
    for net in (inner, outer[1]):
        assert net.__dict__[Progress.HOLDER].value == 0.25
        assert net.get_buffer(Progress.BUFFER) == 0.25
    fresh = nn.Sequential(
        Wrapper(binarize(mlp(4, 4, 4, 4), "irnet")), binarize(mlp(4, 4, 4, 4), "irnet")
    )
    fresh.load_state_dict(outer.state_dict())
    assert fresh[0].inner.__dict__[Progress.HOLDER].value == 0.25


def test_a_float_net_has_no_progress_to_set() -> None:
    set_progress(Net(), 0.5)


def test_members_of_a_block_share_one_activation_binarizer() -> None:
    block = binarize(DoublingUnit(4, nonlinearity=lambda _: nn.Hardtanh()), "reactnet")
    left, right = block.get_submodule("left"), block.get_submodule("right")
    assert isinstance(left, BinaryLayer) and isinstance(right, BinaryLayer)
    assert left.activation is right.activation


def test_a_float_member_of_a_block_gets_no_binarizer() -> None:
    block = DoublingUnit(4, nonlinearity=lambda _: nn.Hardtanh())
    keys = {f"right.{key}" for key in block.right.state_dict()}
    binarize(block, "reactnet", keep_float=("right",))
    assert {key for key in block.state_dict() if key.startswith("right.")} == keys


class BehindRelu(nn.Module):
    def __init__(self, *, functional: bool) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.second, self.head = nn.Conv2d(4, 4, 1), nn.Linear(4, 2)
        self.act = F.relu if functional else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.act(self.stem(x)))
        return self.head(self.second(x).mean((2, 3)))


@pytest.mark.parametrize("functional", [True, False])
def test_a_sign_behind_a_functional_relu_is_found_by_the_diagnostics(functional: bool) -> None:
    net = binarize(BehindRelu(functional=functional)).eval()
    statistics = CodeStatistics(net)
    with statistics.watching(), torch.no_grad():
        net(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    # Behind a code that never changes, the next one cannot change either.
    assert constant_codes(statistics) == (["conv", "second"] if functional else [])
    assert bool((statistics.positive_rates()["conv"] == 1).all()) == functional


class Attending(nn.Module):
    """x times Linear - ReLU - Linear of its channel means, then its own PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.excite = nn.Sequential(nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels))
        self.kink = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.kink(x * (1 + self.excite(x.mean((2, 3)))[:, :, None, None]))


class Rectifying(ActivationBinarizer):
    """Signs behind a layer and a ReLU of the binarizer's own."""

    def __init__(self, channels: int) -> None:
        super().__init__(lambda grad, x: grad)
        self.before = nn.Sequential(nn.Linear(channels, channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.sign(self.before(x.mean((2, 3)))[:, :, None, None] - x)


OURS: Method = replace(
    BIREAL,
    nonlinearity=Attending,
    activation=lambda channels, progress: Rectifying(channels),
)


def whole(layer: nn.Module) -> list[type]:
    return [type(part) for part in layer.modules()]


def test_what_a_method_is_made_of_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ours", SimpleNamespace(OURS=OURS))
    net = create("resnet8-bireal-poolpad", method="ours:OURS", classes=3, channels=3, image_size=8)
    made = [module for module in net.modules() if isinstance(module, Attending)]
    assert len(made) >= 6
    assert all(whole(module) == whole(Attending(8)) for module in made)
    layers = binary_layers(net)
    assert len(layers) == 6
    for layer in layers.values():
        assert whole(layer.activation.before) == [nn.Sequential, nn.Linear, nn.ReLU]
    reasons = {row.name: (row.bits, row.why) for row in summary(net).rows}
    inside = [name for name, module in net.named_modules() if ".excite." in name]
    linear = [name for name in inside if type(net.get_submodule(name)) is nn.Linear]
    assert len(linear) == 2 * len(made)
    for name in linear:
        assert reasons[name] == (32, "it belongs to the method's own non-linearity or binarizer")
    assert not any(name.endswith((".kink", ".excite.1")) for name in reasons)
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_a_mark_survives_a_copy_and_covers_a_bare_relu() -> None:
    ours = replace(BIREAL, nonlinearity=lambda channels: nn.ReLU())
    net = nn.Sequential(nn.Linear(4, 4), own_nonlinearity(ours, 4), nn.Linear(4, 4), nn.ReLU())
    made = binarize(deepcopy(net), keep_float=("0",))
    assert [type(layer) for layer in made] == [nn.Linear, nn.ReLU, BinaryLinear, nn.Hardtanh]
