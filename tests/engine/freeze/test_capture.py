"""A net as a graph of ATen operators: complete, and taken without touching the net."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens import BitlensError, binarize
from bitlens.engine.freeze.capture import BATCH, Captured, capture
from bitlens.engine.freeze.observe import run_nodes
from bitlens.methods import METHODS, get
from bitlens.models.layers import BinaryLayer, binary_layers

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Three convolutions and a head, whose forward is given."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)
        self.way = forward

    def forward(self, x: Tensor) -> Any:
        return self.way(self, x)


def plain(net: Any, x: Tensor) -> Tensor:
    return net.head(net.norm(net.conv(net.stem(x))).mean((2, 3)))


def targets(captured: Captured) -> list[str]:
    return [
        str(node.target)
        for node in captured.module.graph.nodes
        if node.op == "call_function" and node not in captured.constants
    ]


STATIC = [name for name in METHODS if get(name).deploy == "static"]


@pytest.mark.parametrize("method", STATIC)
def test_the_captured_graph_is_the_net(method: str) -> None:
    net = binarize(Net(plain), method)
    captured = capture(net, IMAGES)
    found = run_nodes(captured, list(captured.module.graph.nodes), IMAGES[:BATCH])
    net.eval()
    with torch.no_grad():
        assert torch.equal(found[captured.answer], net(IMAGES[:BATCH]))
    layer = binary_layers(net)["conv"]
    with_offset = layer.weight_binarizer.offset(layer.weight) is not None
    assert targets(captured).count("bitlens.binary_conv.default") == 1 + with_offset
    assert targets(captured).count("bitlens.sign.default") == 1
    assert list(captured.layers) == ["conv"]


@pytest.mark.parametrize("method", [name for name in METHODS if name not in STATIC])
def test_a_runtime_method_is_refused_with_its_reason(method: str) -> None:
    net = binarize(Net(plain), method)
    net(IMAGES)
    with pytest.raises(BitlensError) as refusal:
        capture(net, IMAGES)
    assert str(refusal.value) == (
        f"pack: conv: method '{method}' does not fold into thresholds: {get(method).why_runtime}; "
        "train with a method that `bitlens list methods` calls static"
    )


def test_the_net_stays_as_it_is() -> None:
    net = binarize(Net(plain), "reactnet").train()
    net.norm.eval()
    seen: list[Tensor] = []
    binary_layers(net)["conv"].activation.sign.register_forward_hook(
        lambda module, inputs, output: seen.append(output)
    )
    net.stem.register_forward_hook(lambda module, inputs, output: seen.append(output))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    pointers = {name: value.data_ptr() for name, value in net.state_dict().items()}
    modules = dict(net.named_modules())
    captured = capture(net, IMAGES)
    assert dict(net.named_modules()) == modules
    assert net.training and not net.norm.training
    assert {name: value.data_ptr() for name, value in net.state_dict().items()} == pointers
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert captured.layers["conv"] is net.conv
    net(IMAGES)
    assert len(seen) == 2  # the observers are still there, and saw no tracing


def test_parameters_are_shared_and_not_copied() -> None:
    net = Net(plain)
    captured = capture(net, IMAGES)
    stem = next(v for n, v in captured.constants.items() if n.target == "stem.weight")
    assert stem.data_ptr() == net.stem.weight.data_ptr()


def test_operators_are_functional_and_dropout_is_gone() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = F.relu_(net.stem(x))
        y += 1
        return net.head(F.dropout(y, 0.5, net.training).mean((2, 3)))

    captured = capture(Net(forward), IMAGES)
    assert not [name for name in targets(captured) if "dropout" in name or "_.default" in name]


def test_real_weights_of_stage_one_stay_a_convolution() -> None:
    net = binarize(Net(plain), "reactnet")
    for layer in binary_layers(net).values():
        layer.binary_weights = False
    found = targets(capture(net, IMAGES))
    assert found.count("aten.conv2d.default") == 2
    assert "bitlens.sign.default" in found and "bitlens.binary_conv.default" not in found


def test_a_layer_as_the_whole_net() -> None:
    net = binarize(nn.Conv2d(3, 4, 3), "bireal", keep_float=())
    assert isinstance(net, BinaryLayer)
    assert list(capture(net, IMAGES).layers) == [""]


def pixel_dependent(net: Any, x: Tensor) -> Tensor:
    return plain(net, x if x.mean() > 0 else -x)


def test_control_flow_by_pixels_is_refused_by_its_place() -> None:
    with pytest.raises(BitlensError, match=r"cannot follow the net in '\(net\)'.*branches"):
        capture(binarize(Net(pixel_dependent)), IMAGES)
    inner = nn.Sequential(nn.Identity(), Net(pixel_dependent))
    with pytest.raises(BitlensError, match="cannot follow the net in '1'"):
        capture(inner, IMAGES)


def test_several_answers_are_refused() -> None:
    with pytest.raises(BitlensError, match="returns a tuple of 2; wrap it"):
        capture(Net(lambda net, x: (net.stem(x), plain(net, x))), IMAGES)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda net: net.stem.weight.data.fill_(float("nan")), r"stem.weight has 108 entries"),
        (lambda net: net.norm.running_var.fill_(float("inf")), r"norm.running_var has 4 entries"),
        (lambda net: net.double(), r"stem.weight is torch.float64; call net.float\(\)"),
    ],
    ids=["weight", "statistics", "double"],
)
def test_tensors_that_cannot_be_packed_are_named(spoil: Callable[[Net], Any], message: str) -> None:
    net = Net(plain)
    spoil(net)
    with pytest.raises(BitlensError, match=message):
        capture(net, IMAGES)


@pytest.mark.parametrize(
    "example",
    [torch.randn(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.randn(0, 3, 8, 8)],
)
def test_examples_must_be_float_images(example: Tensor) -> None:
    with pytest.raises(BitlensError, match="give float32 images"):
        capture(Net(plain), example)


def test_lazy_layers_and_what_cannot_be_copied_are_named() -> None:
    with pytest.raises(BitlensError, match=r"weight is lazy"):
        capture(nn.Sequential(nn.LazyConv2d(3, 1)), IMAGES)
    net = Net(plain)
    net.file = open(__file__)
    try:
        with pytest.raises(BitlensError, match="cannot be copied"):
            capture(net, IMAGES)
    finally:
        net.file.close()
    assert copy.copy(net) is not None
