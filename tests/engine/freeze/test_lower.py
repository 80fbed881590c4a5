"""What the packed graph of a net looks like, and which operators are refused with a way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens import BitlensError, binarize
from bitlens.engine.file.validate import check
from bitlens.engine.freeze.capture import capture
from bitlens.engine.freeze.flow import Op, View, from_rows, image_view, row_view, to_rows
from bitlens.engine.freeze.lower import lower
from bitlens.engine.freeze.norms import multiply_add_of
from bitlens.engine.freeze.poolings import pooling_pads
from bitlens.engine.freeze.windows import same_pads
from bitlens.engine.graph import Graph, Node, Window
from bitlens.engine.reference import run as reference
from bitlens.methods import get
from bitlens.models.nets import NETS

Forward = Callable[[Any, Tensor], Tensor]


class Net(nn.Module):
    """Named layers and the function that uses them."""

    def __init__(self, forward: Forward, **layers: nn.Module) -> None:
        super().__init__()
        self.way = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def images(size: int = 8, n: int = 2) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def graph_of(net: nn.Module, x: Tensor | None = None, **settings: Any) -> Graph:
    x = images() if x is None else x
    found = lower(capture(net, x), [x], **settings)
    check(found.graph)
    check(found.probed)
    return found.graph


def named(name: str, method: str, width: float = 1 / 16) -> nn.Module:
    settings = {"classes": 4, "channels": 3, "image_size": 16}
    nonlinearity = get(method).nonlinearity
    net = NETS[name].build(**settings, nonlinearity=nonlinearity, width=width)
    return binarize(net, method, keep_float=net.keep_float)


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def node(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes if node.name == name)


def steps(graph: Graph, name: str) -> list[str]:
    return [step.op for step in node(graph, name).steps]


def test_a_plain_net_keeps_signs_alone() -> None:
    """In VGG-small a convolution without pooling becomes one comparison of integers."""
    graph = graph_of(named("vgg-small", "bnn"), images(16))
    assert steps(graph, "features.1.conv") == ["sign"]
    assert steps(graph, "features.0.pool") == ["sign"]
    assert steps(graph, "stem.conv") == ["sign"]
    at = graph.tensors[str(node(graph, "features.1.conv").steps[0].a)]
    assert np.array_equal(at, np.rint(at))
    assert sum(value.kind == "float" for value in graph.values.values()) == 5


def test_a_residual_net_keeps_torchs_order_of_operations() -> None:
    graph = graph_of(named("resnet8-bireal-poolpad", "reactnet", 0.5), images(16))
    arithmetic = ["multiply", "multiply_add", "add_value", "add", "prelu", "add"]
    assert steps(graph, "stages.0.0.conv") == [*arithmetic, "store", "sign"]
    assert steps(graph, "stages.1.0.conv") == [*arithmetic, "store", "sign"]
    assert steps(graph, "stages.2.1.conv") == [*arithmetic, "store"]
    assert ops(graph).count("elementwise") == 1  # the input becomes bytes
    stored = [step.value for n in graph.nodes for step in n.steps if step.op == "store"]
    assert len(stored) == len(set(stored))


def test_layers_with_one_input_share_its_signs() -> None:
    graph = graph_of(named("reactnet-a", "reactnet"), images(16))
    left, right = (n for n in graph.nodes if n.name in ("features.1.left", "features.1.right"))
    assert left.inputs == right.inputs


def test_different_shifts_of_one_value_are_different_signs_of_it() -> None:
    net = binarize(
        Net(
            lambda net, x: net.head((net.a(y := net.stem(x)) + net.b(y)).mean((2, 3))),
            stem=nn.Conv2d(3, 4, 3, bias=False),
            a=nn.Conv2d(4, 4, 1),
            b=nn.Conv2d(4, 4, 1),
            head=nn.Linear(4, 2),
        ),
        "reactnet",
    )
    net.a.activation.shift.data.fill_(0.5)
    net.b.activation.shift.data.fill_(-0.25)
    graph = graph_of(net)
    found = node(graph, "stem").steps
    assert [step.op for step in found] == ["sign", "sign"]
    assert [graph.tensors[str(step.a)][0] for step in found] == [-0.5, 0.25]


def test_dorefa_computes_with_levels_zero_and_one() -> None:
    graph = graph_of(named("resnet8-bireal-poolpad", "dorefa", 0.5), images(16))
    conv = node(graph, "stages.0.0.conv")
    assert conv.unit and conv.pad == -1
    sign = node(graph, "stem").steps[-1]
    assert sign.op == "sign" and np.all(graph.tensors[str(sign.a)] == 0.5)


@pytest.mark.parametrize(("method", "pad"), [("bnn", 0), ("bnn", 1), ("bnn", -1), ("dorefa", 0)])
def test_what_a_padded_position_means(method: str, pad: Any) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 1))
    graph = graph_of(binarize(net, method, pad=pad))
    assert (node(graph, "1").pad, node(graph, "1").unit) == (pad, method == "dorefa")


def test_other_padding_modes_pad_in_front_of_the_sign() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
    net = binarize(nn.Sequential(nn.Conv2d(3, 4, 1), conv, nn.Conv2d(4, 2, 1)), "reactnet")
    graph = graph_of(net)
    expected = ["elementwise", "int8_conv", "pad", "elementwise", "binary_conv", "int8_conv"]
    assert ops(graph) == expected
    padded = next(n for n in graph.nodes if n.op == "pad")
    assert padded.attributes["mode"] == "reflect" and padded.shape == (10, 10, 4)
    assert node(graph, "1").window == Window(kernel=(3, 3))


def test_real_weights_on_signs_read_the_numbers_minus_one_and_one() -> None:
    net = binarize(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 2, 1)),
        "reactnet",
    )
    net[1].binary_weights = False
    graph = graph_of(net)
    assert node(graph, "1").op == "int8_conv"
    made = next(s for n in graph.nodes for s in n.steps if s.value == node(graph, "1").inputs[0])
    assert (made.op, made.scale, made.zero) == ("quantize", 1.0, 1)
    assert node(graph_of(net, float32=True), "1").op == "float_conv"


def test_a_layer_without_a_sign_in_front_adds_and_subtracts_its_inputs() -> None:
    net = binarize(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)), "xnor"
    )
    net[1].activation = Straight()
    assert node(graph_of(net), "1").op == "sign_conv"


class Straight(nn.Module):
    """An activation binarizer that leaves its input real."""

    levels = (-1.0, 1.0)

    def affine(self) -> None:
        """The levels are fixed."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_linear_layer_behind_flatten_is_one_window_over_the_image() -> None:
    graph = graph_of(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), mean=[0.5] * 3, std=[0.5] * 3)
    assert [node.name for node in graph.nodes] == ["1", "1.fine"]
    for node in graph.nodes:
        assert node.op == "int8_conv" and node.window.kernel == (8, 8)
        assert node.inputs == ("image",)


def test_thresholds_per_feature_carry_a_flattening_out() -> None:
    net = binarize(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 6), nn.Linear(6, 2)),
        "reactnet",
    )
    net[2].activation.shift.data.normal_()
    graph = graph_of(net)
    assert "flatten" in ops(graph)
    flat = graph_of(binarize(nn.Sequential(nn.Flatten(), nn.Linear(192, 6)), "bnn", keep_float=()))
    assert "flatten" not in ops(flat)


def test_what_nobody_reads_is_dropped() -> None:
    layers = {"a": nn.Conv2d(3, 2, 1), "b": nn.Conv2d(3, 2, 1)}
    graph = graph_of(Net(lambda net, x: (net.b(x), net.a(x))[1], **layers))
    assert [n.name for n in graph.nodes if n.weights] == ["a"]


def test_a_layer_that_is_called_twice_has_two_nodes() -> None:
    net = Net(lambda net, x: net.a(net.a(x)), a=nn.Conv2d(3, 3, 1))
    assert [n.name for n in graph_of(net).nodes if n.weights] == ["a", "a#2"]


def test_asymmetric_zero_padding_joins_the_convolution() -> None:
    net = nn.Sequential(nn.ZeroPad2d((1, 2, 0, 3)), nn.Conv2d(3, 4, 3, padding=1))
    graph = graph_of(net, float32=True)
    assert ops(graph) == ["float_conv"]
    assert graph.nodes[0].window.pads == (1, 2, 4, 3)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (4, 5)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
def test_same_padding_is_torchs(kernel: tuple[int, int], dilation: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(1)
    x, w = torch.randn(1, 1, 9, 9, generator=random), torch.randn(1, 1, *kernel, generator=random)
    top, left, bottom, right = same_pads(kernel, dilation)
    ours = F.conv2d(F.pad(x, (left, right, top, bottom)), w, dilation=dilation)
    torch.testing.assert_close(ours, F.conv2d(x, w, padding="same", dilation=dilation))


@pytest.mark.parametrize("size", range(3, 11))
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("ceil", [False, True])
def test_pooling_pads_give_torchs_size(size: int, kernel: int, stride: int, ceil: bool) -> None:
    for padding in range(kernel // 2 + 1):
        out = F.max_pool2d(torch.zeros(1, 1, size, size), kernel, stride, padding, 1, ceil).shape[
            2:
        ]
        window = Window(kernel=(kernel, kernel), stride=(stride, stride))
        pads = pooling_pads((size, size), out, window, (padding, padding), ceil)
        for axis in (0, 1):
            padded = size + pads[axis] + pads[axis + 2]
            assert (padded - kernel) // stride + 1 == out[axis]
            assert pads[axis] == padding


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_is_torchs_to_the_last_bit(layout: torch.memory_format) -> None:
    random = np.random.default_rng(0)
    c = 37
    gamma, beta, mean = random.normal(size=(3, c)).astype(np.float32)
    variance = random.uniform(1e-6, 5, c).astype(np.float32)
    gamma[0], variance[1], mean[2] = 0, 0, 1e4
    x = torch.from_numpy(random.normal(size=(4, c, 7, 5)).astype(np.float32) * 30)
    norm = nn.BatchNorm2d(c).eval()
    with torch.no_grad():
        for target, given in zip(
            (norm.weight, norm.bias, norm.running_mean, norm.running_var),
            (gamma, beta, mean, variance),
            strict=True,
        ):
            target.copy_(torch.from_numpy(given))
        expected = norm(x.to(memory_format=layout)).numpy()
    a, b = multiply_add_of(gamma, beta, mean, variance, norm.eps)
    ours = reference.ops.fused_multiply_add(x.numpy().transpose(0, 2, 3, 1), a, b)
    assert np.array_equal(ours.transpose(0, 3, 1, 2), expected)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 6), (2, 3, 1), (1, 4, 2)])
def test_views_are_torchs_own_moves(shape: tuple[int, int, int]) -> None:
    op = Op(kind="input", shape=shape, name="x")
    rows = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    x = torch.from_numpy(rows).permute(0, 3, 1, 2)
    assert torch.equal(from_rows(rows, image_view(op)), x)
    assert np.array_equal(to_rows(x, image_view(op)), rows)
    n, c, h, w = image_view(op).dims
    flat = View(op=op, dims=(n, c + h + w))
    assert torch.equal(from_rows(rows, flat), x.flatten(1))
    assert np.array_equal(to_rows(x.flatten(1), flat), rows)
    tokens = View(op=op, dims=(n, h + w, c))
    assert torch.equal(from_rows(rows, tokens), x.flatten(2).transpose(1, 2))
    if shape[:2] == (1, 1):
        assert torch.equal(from_rows(rows, row_view(op)), x[:, :, 0, 0])


A = {"a": nn.Conv2d(3, 8, 1)}
SPOTS = nn.Parameter(torch.randn(1, 8, 8, 8))
REFUSED: dict[str, tuple[nn.Module, str]] = {
    "transposed": (
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 4, 2)),
        r"pack: 1: the operator aten\.conv_transpose2d\S* cannot be packed",
    ),
    "group norm": (nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8)), "1: .*group_norm"),
    "batch statistics": (
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, track_running_stats=False)),
        "1: .*statistics of the batch itself; train with track_running_stats=True",
    ),
    "attention": (
        Net(lambda net, x: (t := net.a(x).flatten(2)) @ t.transpose(1, 2), **A),
        "attention cannot be packed",
    ),
    "a constant image": (Net(lambda net, x: net.a(x) + SPOTS, **A), "one number a channel"),
    "channel shuffle": (
        Net(lambda net, x: net.a(x).view(-1, 2, 4, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8), **A),
        "use slices and torch.cat",
    ),
    "uneven pooling": (
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(3)),
        r"1: .*sides of \(8, 8\) to \(3, 3\)",
    ),
    "dropout always": (
        Net(lambda net, x: F.dropout(net.a(x)), **A),
        "pass training=self.training",
    ),
    "where the largest is": (
        Net(lambda net, x: net.a(x).max(3)[1].float(), **A),
        "not where they lie",
    ),
    "joined rows": (
        Net(lambda net, x: torch.cat([net.a(x), net.a(x)], 2), **A),
        "only channels",
    ),
    "over channels": (Net(lambda net, x: net.a(x).mean(1), **A), "only rows and columns"),
    "division": (
        Net(lambda net, x: net.a(x) / net.a(x).mean((2, 3), True), **A),
        "by constants only",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_packed_is_named_with_a_way_out(name: str) -> None:
    net, message = REFUSED[name]
    with pytest.raises(BitlensError, match=message):
        graph_of(net)
