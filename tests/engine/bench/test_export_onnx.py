"""The float twin against the reference, on graphs where twin and packed net compute the same.

Images of -1 and +1 pass a sign unchanged, so there the twin's binary convolutions can be compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.reference import run as reference
from bitlens.engine.words import pack_blocks, pack_rows

onnx = pytest.importorskip("onnx", reason="the extra [bench] is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [bench] is not installed")

Array = npt.NDArray[Any]
DRAW = np.random.default_rng(3)


def graph_of(*nodes: Node, image: Value, tensors: dict[str, Array] | None = None, **more) -> Graph:
    """A graph of `nodes` whose values' kinds follow from what makes them; the last one is the output."""
    kinds = {"store": "float", "sign": "codes", "quantize": "u8"}
    values = {image.name: image}
    for node in nodes:
        made = [(s.value, kinds[s.op]) for s in node.steps if s.op in kinds]
        for name, kind in [*made, *([(node.output, "float")] if node.output else [])]:
            values[name] = Value(name=name, kind=kind, shape=node.shape)
    return Graph(
        nodes=nodes,
        values=values,
        tensors=tensors or {},
        input=image.name,
        output=nodes[-1].outputs[-1],
        **{"output_rank": 4, **more},
    )


def floats(h: int, w: int, c: int) -> Value:
    return Value(name="x", kind="float", shape=(h, w, c))


def store(name: str) -> Step:
    return Step(op="store", value=name)


def constants(c: int, *names: str) -> dict[str, Array]:
    return {name: DRAW.normal(size=c).astype(np.float32) for name in names}


def answers(graph: Graph, x: Array) -> Array:
    """What ONNX Runtime computes on the twin, (n, c, h, w) or (n, c)."""
    from bitlens.engine.bench.export_onnx import to_onnx
    from bitlens.engine.bench.peers.onnxruntime_float import make_session

    session = make_session(to_onnx(graph, batch=len(x)).SerializeToString(), 1)
    return session.run(None, {"image": x.transpose(0, 3, 1, 2).copy()})[0]


def agree(graph: Graph, x: Array, given: Array | None = None, **tolerance: float) -> None:
    """Twin on `x` equals the reference on `given`, and torch on the twin equals both."""
    import torch

    from bitlens.engine.bench.peers.torch_eager import TorchTwin

    truth = reference.run(graph, x if given is None else given)[graph.output].transpose(0, 3, 1, 2)
    twin = answers(graph, x)
    if graph.output_rank == 2:
        truth = truth[:, :, 0, 0]
    limits = {"rtol": 1e-4, "atol": 1e-4, **tolerance}
    np.testing.assert_allclose(twin, truth, **limits)
    one = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())[:1]
    np.testing.assert_allclose(TorchTwin(graph)(one).numpy(), truth[:1], **limits)


def signs(*shape: int) -> Array:
    return DRAW.choice(np.array([-1, 1], np.int8), shape)


@pytest.mark.parametrize("groups", [1, 3])
def test_binary_convolution_with_its_epilogue(groups: int) -> None:
    c, o, kernel = 6, 9, (3, 2)
    window = Window(kernel=kernel, stride=(2, 1), dilation=(1, 2), pads=(1, 1, 0, 1))
    shape = ((8 + 1 - 3) // 2 + 1, 7 + 2 - 2, o)
    sign = Node(
        name="sign",
        op="elementwise",
        inputs=("x",),
        shape=(8, 7, c),
        steps=(Step(op="sign", value="codes", a="zero"),),
    )
    conv = Node(
        name="conv",
        op="binary_conv",
        inputs=("codes",),
        shape=shape,
        window=window,
        groups=groups,
        weights="w",
        steps=(
            Step(op="multiply", a="scale"),
            Step(op="add", a="bias"),
            Step(op="multiply_add", a="alpha", b="beta"),
            store("before"),
            Step(op="multiply", a="gain"),
            Step(op="multiply_add", a="alpha", b="beta"),
            Step(op="add", a="bias"),
            Step(op="prelu", a="slope"),
            Step(op="clamp", low=-2.0, high=3.0),
            Step(op="add_value", value="before"),
            store("y"),
        ),
    )
    tensors = constants(o, "scale", "bias", "alpha", "beta", "gain", "slope")
    tensors |= {"zero": np.zeros(c, np.float32)}
    tensors |= {"w": pack_blocks(signs(o, c // groups, *kernel), groups)}
    graph = graph_of(sign, conv, image=floats(8, 7, c), tensors=tensors)
    agree(graph, signs(2, 8, 7, c).astype(np.float32))


def test_a_threshold_made_of_batch_norm_becomes_a_bias_again() -> None:
    sign = Node(
        name="sign",
        op="elementwise",
        inputs=("x",),
        shape=(1, 1, 40),
        steps=(Step(op="sign", value="codes", a="zero"),),
    )
    first = Node(
        name="first",
        op="binary_conv",
        inputs=("codes",),
        shape=(1, 1, 70),
        weights="w",
        steps=(Step(op="sign", value="hidden", a="threshold", b="turn"),),
    )
    tensors = {
        "zero": np.zeros(40, np.float32),
        "w": pack_blocks(signs(70, 40, 1, 1)),
        "threshold": DRAW.integers(-9, 9, 70).astype(np.float32) + np.float32(0.5),
        "turn": DRAW.integers(0, 2, 70).astype(np.uint8),
    }
    tensors["threshold"][:2] = np.inf, -np.inf
    graph = graph_of(sign, first, image=floats(1, 1, 40), tensors=tensors)
    graph = replace(
        graph,
        output="hidden",
        output_rank=2,
        values=graph.values | {"hidden": Value(name="hidden", kind="float", shape=(1, 1, 70))},
    )
    x = signs(5, 1, 1, 40).astype(np.float32)
    codes = reference.run(graph, x)["hidden"][:, 0, 0]
    twin = answers(graph, x)
    assert np.abs(twin).max() < 20, "values keep a size, thresholds at infinity included"
    np.testing.assert_array_equal(np.where(twin >= 0, 1, -1)[:, 2:], codes[:, 2:])


def test_bytes_disappear() -> None:
    """int8 layers on image and map: the twin takes the normalised image and real weights."""
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    conv = Node(
        name="stem",
        op="int8_conv",
        inputs=("x",),
        shape=(6, 6, 8),
        window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
        weights="w",
        scale="scale",
        zero="zero",
        steps=(
            Step(op="prelu", a="none"),
            Step(op="quantize", value="bytes", scale=255 / 10.0, zero=0),
        ),
    )
    head = Node(
        name="head",
        op="int8_conv",
        inputs=("bytes",),
        shape=(6, 6, 4),
        weights="v",
        scale="scale4",
        zero="none",
        steps=(store("y"),),
    )
    tensors = {
        "w": DRAW.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8),
        "scale": DRAW.uniform(0.5, 1.5, 8).astype(np.float32) / np.float32(20000),
        "zero": (255 * np.array(mean)).astype(np.float32),
        "none": np.zeros(8, np.float32),
        "v": DRAW.integers(-127, 128, (4, 1, 1, 8)).astype(np.int8),
        "scale4": np.full(4, 1e-4, np.float32),
    }
    image = Value(name="x", kind="u8", shape=(6, 6, 3))
    graph = graph_of(conv, head, image=image, tensors=tensors, mean=mean, std=std)
    pixels = DRAW.integers(0, 256, (3, 6, 6, 3)).astype(np.uint8)
    normalised = ((pixels / 255 - np.array(mean)) / np.array(std)).astype(np.float32)
    truth = reference.run(graph, pixels)
    assert truth["bytes"].max() < 255, "nothing is clipped"
    agree(graph, normalised, pixels, atol=0.05)


@pytest.mark.parametrize("op", ["float_conv", "sign_conv"])
def test_float_convolutions(op: Any) -> None:
    w = signs(8, 3, 2, 3)
    node = Node(
        name="conv",
        op=op,
        inputs=("x",),
        shape=(5, 7, 8),
        window=Window(kernel=(2, 3), pads=(0, 1, 0, 1)),
        groups=2,
        weights="w",
        steps=(Step(op="add", a="bias"), Step(op="clamp", low=0.0), store("y")),
    )
    real = DRAW.normal(size=(8, 2, 3, 3)).astype(np.float32)
    tensors = {"w": pack_rows(w) if op == "sign_conv" else real, **constants(8, "bias")}
    graph = graph_of(node, image=floats(6, 7, 6), tensors=tensors)
    agree(graph, DRAW.normal(size=(2, 6, 7, 6)).astype(np.float32))


POOLS = {
    "inside": ((1, 1, 1, 1), {"count": "inside"}),
    "inside, uneven": ((1, 0, 2, 1), {"count": "inside"}),
    "padded": ((1, 1, 2, 1), {"count": "padded", "padding": (1, 1)}),
    "number": ((0, 0, 0, 0), {"count": 5}),
}


@pytest.mark.parametrize("name", POOLS)
def test_average_pools(name: str) -> None:
    pads, attributes = POOLS[name]
    top, left, bottom, right = pads
    shape = ((7 + top + bottom - 3) // 2 + 1, (7 + left + right - 3) // 2 + 1, 4)
    node = Node(
        name="pool",
        op="avg_pool",
        inputs=("x",),
        shape=shape,
        window=Window(kernel=(3, 3), stride=(2, 2), pads=pads),
        attributes=attributes,
        steps=(store("y"),),
    )
    agree(graph_of(node, image=floats(7, 7, 4)), DRAW.normal(size=(2, 7, 7, 4)).astype(np.float32))


def test_max_pool_global_mean_and_head() -> None:
    nodes = (
        Node(
            name="pool",
            op="max_pool",
            inputs=("x",),
            shape=(4, 4, 5),
            window=Window(kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1)),
            steps=(store("pooled"),),
        ),
        Node(
            name="mean",
            op="avg_pool",
            inputs=("pooled",),
            shape=(1, 1, 5),
            window=Window(kernel=(4, 4)),
            attributes={"count": "inside"},
            steps=(store("mean"),),
        ),
        Node(
            name="gate",
            op="float_conv",
            inputs=("mean",),
            shape=(1, 1, 5),
            weights="v",
            steps=(store("gate"),),
        ),
        Node(
            name="scaled",
            op="elementwise",
            inputs=("pooled",),
            shape=(4, 4, 5),
            steps=(Step(op="multiply_value", value="gate"), store("scaled")),
        ),
        Node(name="flat", op="flatten", inputs=("scaled",), shape=(1, 1, 80), output="flat"),
        Node(
            name="head",
            op="float_conv",
            inputs=("flat",),
            shape=(1, 1, 3),
            weights="w",
            steps=(Step(op="add", a="bias"), store("y")),
        ),
    )
    tensors = {
        "v": DRAW.normal(size=(5, 1, 1, 5)).astype(np.float32),
        "w": DRAW.normal(size=(3, 1, 1, 80)).astype(np.float32),
        **constants(3, "bias"),
    }
    graph = graph_of(*nodes, image=floats(8, 8, 5), tensors=tensors, output_rank=2)
    agree(graph, DRAW.normal(size=(3, 8, 8, 5)).astype(np.float32))


def structural(op: Any, shape: tuple[int, int, int], **attributes: object) -> Node:
    return Node(name=op, op=op, inputs=("x",), shape=shape, output="made", attributes=attributes)


STRUCTURAL = {
    "pad": structural("pad", (9, 8, 6), pads=(1, 2, 2, 0), channels=(1, 2), value=0.5),
    "reflect": structural("pad", (9, 8, 3), pads=(1, 2, 2, 0), mode="reflect"),
    "replicate": structural("pad", (9, 8, 3), pads=(1, 2, 2, 0), mode="replicate"),
    "circular": structural("pad", (9, 8, 3), pads=(1, 2, 2, 0), mode="circular"),
    "slice": structural("slice", (3, 6, 2), rows=(0, 6, 2), channels=(1, 3, 1)),
    "nearest": structural("resize", (12, 12, 3), mode="nearest", scale=(2.0, 2.0)),
    "bilinear": structural("resize", (9, 11, 3), mode="bilinear", align_corners=False, scale=None),
    "corners": structural("resize", (9, 11, 3), mode="bilinear", align_corners=True, scale=None),
    **{
        name: structural("unary", (6, 6, 3), function=name)
        for name in ("sigmoid", "tanh", "silu", "gelu", "hardswish", "hardsigmoid", "exp", "abs")
    },
    "elu": structural("unary", (6, 6, 3), function="elu", alpha=0.7),
    "gelu tanh": structural("unary", (6, 6, 3), function="gelu", approximate="tanh"),
}


@pytest.mark.parametrize("name", STRUCTURAL)
def test_structural_nodes(name: str) -> None:
    node = STRUCTURAL[name]
    twice = replace(node, name="again", output="again")
    joined = Node(
        name="join",
        op="concat",
        inputs=("made", "again"),
        shape=(*node.shape[:2], 2 * node.shape[2]),
        output="y",
    )
    graph = graph_of(node, twice, joined, image=floats(6, 6, 3))
    agree(graph, DRAW.normal(size=(2, 6, 6, 3)).astype(np.float32))


def test_a_full_disk_is_told(tmp_path) -> None:
    from bitlens.engine.bench.export_onnx import save_onnx
    from bitlens.errors import BitlensError

    graph = graph_of(STRUCTURAL["abs"], image=floats(6, 6, 3))
    save_onnx(graph, tmp_path / "twin.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "twin.onnx"))
    with pytest.raises(BitlensError, match=r"could not write .*twin.onnx: No such file"):
        save_onnx(graph, tmp_path / "nowhere" / "twin.onnx")
