"""Packed nets against torch in evaluation mode: every sign of every layer, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitlens import BitlensError, binarize
from bitlens.engine.freeze.capture import Captured, capture
from bitlens.engine.freeze.lower import Lowered, lower
from bitlens.engine.freeze.pixels import normalised
from bitlens.engine.freeze.turns import check_turns
from bitlens.engine.freeze.verify import Verification, verify
from bitlens.engine.graph import Graph
from bitlens.engine.reference import run as reference
from bitlens.methods import METHODS, get
from bitlens.models.layers import binary_layers
from bitlens.models.nets import NETS

MEAN, STD = (0.45, 0.5, 0.4), (0.25, 0.2, 0.3)
SIDE = 16


def randomize(net: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics, slopes and shifts of a trained net, negative and zero scales among them."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, _BatchNorm):
                for tensor in (module.weight, module.bias, module.running_mean):
                    tensor.copy_(torch.randn(tensor.shape, generator=random))
                module.running_var.copy_(
                    torch.rand(module.running_var.shape, generator=random) + 0.1
                )
                module.weight[0] = 0
        for layer in binary_layers(net).values():
            for part in (layer.weight_binarizer, layer.activation):
                for parameter in part.parameters():
                    parameter.add_(torch.randn(parameter.shape, generator=random) * 0.5)
        for name, parameter in net.named_parameters():
            if "shift" in name or name.endswith("prelu.weight"):
                parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.3)
    return net


def images(n: int = 3, side: int = SIDE) -> Tensor:
    random = np.random.default_rng(0)
    return normalised(random.integers(0, 256, (n, side, side, 3), dtype=np.uint8), MEAN, STD)


def answer(graph: Graph, rows: np.ndarray) -> np.ndarray:
    return reference.run(graph, rows)[graph.output]


def lowered(
    net: nn.Module, x: Tensor, *, by_bytes: bool = True, **settings: Any
) -> tuple[Captured, Lowered]:
    captured = capture(net, x)
    normal: dict[str, Any] = {"mean": MEAN, "std": STD} if by_bytes else {}
    return captured, lower(captured, [x], **normal, **settings)


def compare(net: nn.Module, captured: Captured, found: Lowered, x: Tensor) -> Verification:
    trace = partial(reference.run, found.probed)
    return verify(net, captured, found, x, trace, partial(answer, found.graph))


def check(net: nn.Module, **settings: Any) -> Verification:
    x = images()
    captured, found = lowered(net, x, **settings)
    return compare(net, captured, found, x)


def named(name: str, method: str, width: float) -> nn.Module:
    torch.manual_seed(0)
    settings = {"classes": 10, "channels": 3, "image_size": SIDE}
    nonlinearity = get(method).nonlinearity
    net = NETS[name].build(**settings, nonlinearity=nonlinearity, width=width)
    return randomize(binarize(net, method, keep_float=net.keep_float))


QUICK = [("mlp", 0.25), ("vgg-small", 1 / 16), ("resnet8-bireal-poolpad", 0.5)]
LARGE = [
    ("resnet18-bireal-fp1x1", 1 / 16),
    ("resnet18-normal-bin1x1", 1 / 16),
    ("reactnet-a", 1 / 8),
]
STATIC = [name for name in METHODS if get(name).deploy == "static"]
WIDELY = ("bnn", "xnor", "dorefa", "bireal", "irnet", "reactnet")
"""Methods tried in every net; the others, which give the packer the same parts, in one or two."""

EVERY = [
    *((name, width, method) for name, width in QUICK for method in WIDELY),
    *((*QUICK[2], method) for method in STATIC if method not in WIDELY),
    *(
        pytest.param(name, width, method, marks=[] if method == "reactnet" else pytest.mark.slow)
        for name, width in LARGE
        for method in WIDELY
    ),
    *(
        pytest.param(name, width, method, marks=pytest.mark.slow)
        for name, width in (QUICK[1], LARGE[1])
        for method in STATIC
        if method not in WIDELY
    ),
]


@pytest.mark.parametrize(("name", "width", "method"), EVERY)
def test_every_sign_of_every_net_is_torchs(name: str, width: float, method: str) -> None:
    net = named(name, method, width)
    found = check(net)
    assert found.differing == 0 and found.images == found.answers == 3
    read = {layer.activation for layer in binary_layers(net).values()}
    assert 0 < found.layers <= len(read)
    assert found.codes > 0
    assert f"{found.codes:,} signs" in str(found)


@pytest.mark.parametrize("method", ["reactnet", "dorefa"])
def test_float_layers_leave_the_answers_as_they_are(method: str) -> None:
    found = check(named("resnet8-bireal-poolpad", method, 0.5), float32=True)
    assert found.largest < 1e-5 and found.top1_changes == 0


class Net(nn.Module):
    """A stem, two layers in the middle, a head, and the function that uses them."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **other: nn.Module) -> None:
        super().__init__()
        self.way = forward
        layers: dict[str, nn.Module] = {
            "stem": nn.Conv2d(3, 8, 3, 2, 1),
            "a": nn.Conv2d(8, 8, 3, padding=1),
            "b": nn.Conv2d(8, 8, 3, padding=1),
            "norm": nn.BatchNorm2d(8),
            "head": nn.Linear(8, 4),
        }
        for name, layer in (layers | other).items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def concatenated(net: Any, x: Tensor) -> Tensor:
    first, second = net.stem(x).chunk(2, dim=1)
    y = torch.cat([second, net.norm(net.a(net.stem(x))), first], dim=1)
    return net.head(net.b(y).amax((2, 3)))


def grouped(net: Any, x: Tensor) -> Tensor:
    return net.head(net.norm(net.b(net.a(net.stem(x)))).mean((2, 3)))


def resized(net: Any, x: Tensor) -> Tensor:
    y = net.a(F.interpolate(net.stem(x), scale_factor=2))
    y = F.interpolate(net.norm(y), size=(7, 5), mode="bilinear")
    return net.head(net.b(y).mean((2, 3)))


def squeezed(net: Any, x: Tensor) -> Tensor:
    y = net.norm(net.a(net.stem(x)))
    return net.head((net.b(y) * torch.sigmoid(y.mean((2, 3), keepdim=True))).mean((2, 3)))


def pooled(net: Any, x: Tensor) -> Tensor:
    y = net.a(F.max_pool2d(net.stem(x), 3, 2, 1, ceil_mode=True))
    y = F.avg_pool2d(y, 3, 2, 1, ceil_mode=True, count_include_pad=False) + F.avg_pool2d(
        y, (2, 3), 2, (0, 1), ceil_mode=True, divisor_override=5
    )
    return net.head(F.adaptive_avg_pool2d(net.b(F.avg_pool2d(y, 2, 1, 1)), 1).flatten(1))


def smooth(net: Any, x: Tensor) -> Tensor:
    y = F.gelu(F.silu(net.a(F.hardswish(F.leaky_relu(net.stem(x), 0.1) / 3))))
    return net.head(net.b(F.elu(y).abs() - 0.3).square().sum((2, 3)))


def before_activation(net: Any, x: Tensor) -> Tensor:
    y = net.stem(x)
    y = y + net.a(net.norm(y)) - net.b(2 - y * 0.5).clamp(-3, 5)
    return net.head(y.mean((2, 3)))


def cut(net: Any, x: Tensor) -> Tensor:
    y = net.stem(x)
    y = net.norm(net.a(y)[:, :, ::2, 1::2] + F.pad(y[:, 1:7, ::2, ::2], (0, 0, 0, 0, 1, 1)))
    return net.head(net.b(y)[:, :, -1].mean(-1))


def as_tokens(net: Any, x: Tensor) -> Tensor:
    tokens = net.stem(x).flatten(2).transpose(1, 2)
    return net.head(net.two(F.hardtanh(net.one(tokens))).mean(1))


def last_axis(net: Any, x: Tensor) -> Tensor:
    pixels = net.a(net.stem(x)).permute(0, 2, 3, 1)
    return net.head(net.two(net.one(pixels)).permute(0, 3, 1, 2).mean((2, 3)))


def flattened(net: Any, x: Tensor) -> Tensor:
    return net.head(F.relu(net.wide(net.a(net.stem(x)).flatten(1))))


def twice(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(net.a(net.stem(x)).add_(1)).view(x.shape[0], 8, -1).mean(2))


SIDES = (3, "reflect"), (2, "replicate"), (1, "circular")
ODD: dict[str, Callable[[], Net]] = {
    "concatenated": lambda: Net(concatenated, b=nn.Conv2d(16, 8, 3, stride=2)),
    "grouped": lambda: Net(
        grouped,
        a=nn.Conv2d(8, 12, 3, padding=2, dilation=2, groups=4),
        b=nn.Conv2d(12, 8, 3, padding="same", dilation=(1, 3), groups=2),
    ),
    "depthwise": lambda: Net(grouped, a=nn.Conv2d(8, 8, 3, 2, (1, 0), groups=8)),
    **{
        mode: lambda n=n, mode=mode: Net(
            grouped,
            stem=nn.Conv2d(3, 8, 3, 2, 1, padding_mode=mode),
            a=nn.Conv2d(8, 8, 3, padding=(n, 1), padding_mode=mode),
        )
        for n, mode in SIDES
    },
    "resized": lambda: Net(resized),
    "squeezed": lambda: Net(squeezed),
    "pooled": lambda: Net(pooled),
    "smooth": lambda: Net(smooth),
    "before activation": lambda: Net(before_activation),
    "cut": lambda: Net(cut),
    "tokens": lambda: Net(as_tokens, one=nn.Linear(8, 12), two=nn.Linear(12, 8)),
    "last axis": lambda: Net(last_axis, one=nn.Linear(8, 12), two=nn.Linear(12, 8)),
    "flattened": lambda: Net(flattened, wide=nn.Linear(512, 8)),
    "twice": lambda: Net(twice),
}


@pytest.mark.parametrize("name", ODD)
def test_nets_that_people_write(name: str) -> None:
    torch.manual_seed(0)
    kept = ("stem", "head")
    check(randomize(binarize(ODD[name](), "reactnet", keep_float=kept)))
    signs = check(randomize(binarize(ODD[name](), "dorefa", pad=1, keep_float=kept)), float32=True)
    assert signs.codes > 0


def test_the_first_layer_may_be_binary_and_the_input_real() -> None:
    torch.manual_seed(0)
    net = randomize(binarize(Net(grouped), "reactnet", keep_float=()))
    assert check(net).codes == check(net, by_bytes=False).codes > 0


def test_real_weights_of_stage_one() -> None:
    net = randomize(binarize(Net(grouped), "dorefa"))
    for layer in binary_layers(net).values():
        layer.binary_weights = False
    assert check(net).differing == 0
    assert check(net, float32=True).largest < 1e-4


class Straight(nn.Module):
    """An activation binarizer that leaves its input real."""

    levels = (-1.0, 1.0)

    def affine(self) -> None:
        """The levels are fixed."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_one_bit_weights_on_real_inputs() -> None:
    net = randomize(binarize(Net(grouped), "xnor", pad=1))
    net.a.activation = Straight()
    found = check(net, float32=True)
    assert found.layers == 1 and found.largest < 1e-4


def test_an_answer_that_is_an_image() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 5, 1))
    found = check(binarize(net, "bireal"))
    assert found.answers == 3 * 14 * 14


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, Captured, Lowered]:
    torch.manual_seed(0)
    net = randomize(binarize(Net(grouped), "reactnet"))
    return net, *lowered(net, images())


def spoiled(found: Lowered, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Lowered:
    """Another tensor in both graphs."""
    graphs = (
        replace(graph, tensors={**graph.tensors, name: change(graph.tensors[name])})
        for graph in (found.graph, found.probed)
    )
    graph, probed = graphs
    return replace(found, graph=graph, probed=probed)


def tensor_of(graph: Graph, op: str, field: str) -> str:
    return next(getattr(node, field) for node in graph.nodes if node.op == op)


def test_a_wrong_bit_is_found_by_its_layer(
    small: tuple[nn.Module, Captured, Lowered],
) -> None:
    net, captured, found = small
    name = tensor_of(found.graph, "binary_conv", "weights")
    wrong = spoiled(found, name, lambda words: words ^ np.uint32(1))
    with pytest.raises(
        BitlensError, match=r"'a': \d+ of 1024 values of its binary_conv differ from torch's"
    ):
        compare(net, captured, wrong, images())


def test_a_wrong_int8_weight_is_found(small: tuple[nn.Module, Captured, Lowered]) -> None:
    net, captured, found = small
    wrong = spoiled(found, tensor_of(found.graph, "int8_conv", "weights"), lambda w: w // 2)
    with pytest.raises(BitlensError, match=r"'stem': \d+ of 1024 values of its add_value differ"):
        compare(net, captured, wrong, images())


def test_a_wrong_float_weight_is_not_close() -> None:
    net = randomize(binarize(Net(grouped), "reactnet"))
    captured, found = lowered(net, images(), float32=True)
    wrong = spoiled(found, tensor_of(found.graph, "float_conv", "weights"), lambda w: w * 1.001)
    with pytest.raises(
        BitlensError, match=r"'stem': the engine's float_conv is .* of its range away"
    ):
        compare(net, captured, wrong, images())


class Residual(nn.Module):
    """A stem, a layer behind which only a sign is left, and one with a shortcut around it."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, 2, 1)
        self.a = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.b = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first, self.second = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((self.second(self.b(self.first(self.a(x)))) + x).mean((2, 3)))


@pytest.fixture(scope="module")
def residual() -> tuple[nn.Module, Captured, Lowered]:
    torch.manual_seed(0)
    net = randomize(binarize(Residual(), "xnor", keep_float=("stem", "head")))
    return net, *lowered(net, images(8), by_bytes=False)


def test_a_last_bit_of_any_constant_is_found(
    residual: tuple[nn.Module, Captured, Lowered],
) -> None:
    net, captured, found = residual
    x = images(8)
    compare(net, captured, found, x)
    spoilt = 0
    for name, values in found.graph.tensors.items():
        if values.dtype != np.float32:
            continue
        finite = np.isfinite(values)

        def change(tensor: np.ndarray, finite: np.ndarray = finite) -> np.ndarray:
            return np.where(finite, np.nextafter(tensor, np.float32(np.inf)), tensor)

        with pytest.raises(BitlensError, match=r"differ from torch's|not where its sign turns"):
            compare(net, captured, spoiled(found, name, change), x)
        spoilt += 1
    assert spoilt >= 8


def test_thresholds_are_checked_without_images_that_meet_them(
    residual: tuple[nn.Module, Captured, Lowered],
) -> None:
    _, _, found = residual
    node = next(node for node in found.graph.nodes if node.name == "a")
    assert [step.op for step in node.steps] == ["sign"]
    name = str(node.steps[0].a)
    for shift in (2, -2):
        moved = spoiled(found, name, lambda at, shift=shift: at + np.float32(shift))
        with pytest.raises(BitlensError, match="not where its sign turns"):
            check_turns(moved)
    check_turns(found)


@pytest.mark.parametrize("pad", [0, 1, -1])
def test_levels_0_and_1_with_odd_channels_and_halves_at_the_border(pad: int) -> None:
    torch.manual_seed(0)
    net = binarize(Residual(33), "dorefa", pad=pad, keep_float=("stem", "head"))
    net.train()(images(8))
    with torch.no_grad():
        scale = net.a.weight.abs().mean().item()
        net.first.running_mean.copy_(torch.randint(-20, 20, (33,)) * 0.5 * scale)
        net.first.running_var.fill_(1)
        net.first.weight.copy_(torch.randn(33) * 5)
        net.first.bias.fill_(2.2)
    x = images(16)
    captured, found = lowered(net.eval(), x)
    assert compare(net, captured, found, x).differing == 0


def test_another_shipped_net_is_found(small: tuple[nn.Module, Captured, Lowered]) -> None:
    net, captured, found = small
    trace = partial(reference.run, found.probed)
    with pytest.raises(BitlensError, match="answers differently from the traced one"):
        verify(net, captured, found, images(), trace, lambda rows: answer(found.graph, rows) + 1)


def test_a_net_whose_state_changes_is_found(small: tuple[nn.Module, Captured, Lowered]) -> None:
    net, captured, found = small
    other = randomize(binarize(Net(grouped), "reactnet"), seed=5)
    with pytest.raises(BitlensError, match="captured net answers differently"):
        compare(other, captured, found, images())
    compare(net, captured, found, images())


def test_a_forward_hook_that_changes_values_is_found(
    small: tuple[nn.Module, Captured, Lowered],
) -> None:
    net, captured, found = small
    handle = net.norm.register_forward_hook(lambda module, inputs, output: output + 1)
    try:
        with pytest.raises(BitlensError, match="no forward hook that changes values"):
            compare(net, captured, found, images())
    finally:
        handle.remove()


def test_the_mode_of_every_module_is_given_back(
    small: tuple[nn.Module, Captured, Lowered],
) -> None:
    net, captured, found = small
    net.train()
    net.norm.eval()
    compare(net, captured, found, images(1))
    assert net.training and net.a.training and not net.norm.training
