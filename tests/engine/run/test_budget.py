"""What loading may allocate: a few times the file, or a sentence that names the node and the size."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.engine.file.format import write
from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.reference.run import run as reference
from bitlens.engine.run.borders import classes
from bitlens.engine.run.session import Session, load
from bitlens.engine.words import pack_blocks, pack_rows
from bitlens.errors import BitlensError

FEW = 6 << 20
"""A few megabytes, for the header and the tables of any net."""

Shape = tuple[int, int, int]


def one_node(kind: Any, size: Shape, node: dict[str, Any], tensors: dict[str, Any]) -> Graph:
    made = Node(name="node", inputs=("x",), steps=(Step(op="store", value="y"),), **node)
    values = {
        "x": Value(name="x", kind=kind, shape=size),
        "y": Value(name="y", kind="float", shape=made.shape),
    }
    return Graph(
        nodes=(made,), values=values, tensors=tensors, input="x", output="y", output_rank=4
    )


def linear_int8(n: int) -> Graph:
    random = np.random.default_rng(0)
    tensors = {
        "w": random.integers(-127, 128, (n, 1, 1, n)).astype(np.int8),
        "s": np.full(n, 0.01, np.float32),
        "z": np.full(n, 128, np.float32),
    }
    node = {"op": "int8_conv", "shape": (1, 1, n), "weights": "w", "scale": "s", "zero": "z"}
    return one_node("u8", (1, 1, n), node, tensors)


def linear_signs(n: int) -> Graph:
    signs = 2 * np.random.default_rng(0).integers(0, 2, (n, n, 1, 1)) - 1
    node = {"op": "sign_conv", "shape": (1, 1, n), "weights": "w"}
    return one_node("float", (1, 1, n), node, {"w": pack_rows(signs)})


def linear_floats(n: int) -> Graph:
    weights = np.random.default_rng(0).normal(size=(n, 1, 1, n)).astype(np.float32)
    node = {"op": "float_conv", "shape": (1, 1, n), "weights": "w"}
    return one_node("float", (1, 1, n), node, {"w": weights})


def residual() -> Graph:
    """A stack of binary 3x3 convolutions as in the last stages of a ResNet."""
    random = np.random.default_rng(0)
    shape = (7, 7, 512)
    values = {"x": Value(name="x", kind="float", shape=shape)}
    tensors = {"t": random.normal(size=512).astype(np.float32)}
    nodes = []
    for i in range(8):
        before = f"f{i - 1}" if i else "x"
        values[f"c{i}"] = Value(name=f"c{i}", kind="codes", shape=shape)
        values[f"f{i}"] = Value(name=f"f{i}", kind="float", shape=shape)
        sign = (Step(op="sign", a="t", value=f"c{i}"),)
        nodes.append(
            Node(name=f"s{i}", op="elementwise", inputs=(before,), shape=shape, steps=sign)
        )
        tensors[f"w{i}"] = pack_blocks(2 * random.integers(0, 2, (512, 512, 3, 3)) - 1)
        steps = (Step(op="multiply", a="t"), Step(op="add_value", value=before))
        nodes.append(
            Node(
                name=f"n{i}",
                op="binary_conv",
                inputs=(f"c{i}",),
                shape=shape,
                window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
                weights=f"w{i}",
                steps=(*steps, Step(op="store", value=f"f{i}")),
            )
        )
    return Graph(
        nodes=tuple(nodes),
        values=values,
        tensors=tensors,
        input="x",
        output="f7",
        output_rank=4,
    )


@pytest.mark.parametrize(
    "graph",
    [lambda: linear_int8(2048), lambda: linear_signs(2048), lambda: linear_floats(1024), residual],
    ids=["int8", "signs", "floats", "residual"],
)
def test_loading_takes_a_few_times_the_file(graph: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.bits"
    write(graph(), path)
    load(path)
    tracemalloc.start()
    try:
        session = load(path)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert session.threads == 1
    size = path.stat().st_size
    assert peak < 3 * size + FEW
    assert kept < 1.5 * size + FEW


def pool(op: Any, size: int, window: Window, out: int) -> Graph:
    attributes = {"count": "inside"} if op == "avg_pool" else {}
    node = {"op": op, "shape": (out, out, 1), "window": window, "attributes": attributes}
    return one_node("float", (size, size, 1), node, {})


def wide_window(size: int) -> Graph:
    return pool("max_pool", size, Window(kernel=(size, size)), 1)


def every_row_its_own_border(size: int) -> Graph:
    far = size - 1
    window = Window(kernel=(size, size), pads=(far, far, far, far))
    return pool("avg_pool", size, window, 2 * size - 1)


def one_output_of_a_million(channels: int) -> Graph:
    tensors = {
        "w": np.ones((1, 1, 1, channels), np.int8),
        "s": np.ones(1, np.float32),
        "z": np.zeros(channels, np.float32),
    }
    node = {"op": "int8_conv", "shape": (1, 1, 1), "weights": "w", "scale": "s", "zero": "z"}
    return one_node("u8", (1, 1, channels), node, tensors)


@pytest.mark.parametrize(
    "graph", [wide_window(3000), every_row_its_own_border(400), one_output_of_a_million(1 << 20)]
)
def test_a_small_file_cannot_ask_for_much(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.bits"
    write(graph, path)
    tracemalloc.start()
    try:
        with pytest.raises(BitlensError, match=r"node 'node': .* take \d+ MB up to here"):
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * path.stat().st_size + FEW


def test_windows_of_a_reasonable_size_are_taken() -> None:
    for graph in (wide_window(300), every_row_its_own_border(30), one_output_of_a_million(1000)):
        assert Session(graph).memory.weights < 1 << 22


def test_an_image_too_large_for_memory_is_told(tmp_path: Path) -> None:
    shape = (4096, 4096, 16)
    names = [f"v{i}" for i in range(6)]
    steps = [
        (*(Step(op="add_value", value=v) for v in names[:i]), Step(op="store", value=names[i + 1]))
        for i in range(5)
    ]
    nodes = tuple(
        Node(name=f"n{i}", op="elementwise", inputs=("v0",), shape=shape, steps=steps[i])
        for i in range(5)
    )
    graph = Graph(
        nodes=nodes,
        values={name: Value(name=name, kind="float", shape=shape) for name in names},
        tensors={},
        input="v0",
        output="v5",
        output_rank=4,
    )
    write(graph, tmp_path / "net.bits")
    with pytest.raises(BitlensError, match=r"values of one image take \d+ MB at once.*4295 MB"):
        load(tmp_path / "net.bits")


@pytest.mark.parametrize("groups", [17, 31, 101])
@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("op", ["binary_conv", "int8_conv", "float_conv", "sign_conv"])
def test_groups_that_are_over_have_a_row_of_their_own(op: Any, each: int, groups: int) -> None:
    """A prime number of groups, all kinds of steps, against the reference."""
    random = np.random.default_rng(groups + each)
    o, cg, size = groups * each, 2, (5, 4, 2 * groups)
    shape = (5, 4, o)
    tensors = {name: random.uniform(-2, 2, o).astype(np.float32) for name in ("a", "b", "t")}
    tensors["flip"] = random.integers(0, 2, o).astype(np.uint8)
    more: dict[str, Any] = {"weights": "w"}
    if op == "int8_conv":
        tensors["w"] = random.integers(-99, 100, (o, 3, 3, cg)).astype(np.int8)
        tensors["s"] = random.uniform(0.001, 0.01, o).astype(np.float32)
        tensors["z"] = random.integers(0, 256, size[2]).astype(np.float32)
        more |= {"scale": "s", "zero": "z"}
    elif op == "float_conv":
        # Small integers: sums are exact in any order.
        tensors["w"] = random.integers(-3, 4, (o, 3, 3, cg)).astype(np.float32)
    else:
        signs = 2 * random.integers(0, 2, (o, cg, 3, 3)) - 1
        tensors["w"] = pack_rows(signs) if op == "sign_conv" else pack_blocks(signs, groups)
    values = {
        "x": Value(name="x", kind="u8" if op == "int8_conv" else "float", shape=size),
        "y": Value(name="y", kind="float", shape=shape),
        "c": Value(name="c", kind="codes", shape=shape),
        "q": Value(name="q", kind="u8", shape=shape),
        "gate": Value(name="gate", kind="float", shape=shape),
    }
    steps = (
        Step(op="multiply_add", a="a", b="b"),
        Step(op="store", value="gate"),
        Step(op="prelu", a="t"),
        Step(op="sign", a="t", b="flip", value="c"),
        Step(op="quantize", scale=3.0, zero=100, value="q"),
        Step(op="store", value="y"),
    )
    node = Node(
        name="conv",
        op=op,
        inputs=("x",),
        shape=shape,
        groups=groups,
        window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
        steps=steps,
        **more,
    )
    nodes = [node]
    if op == "binary_conv":
        tensors["zero"] = np.zeros(size[2], np.float32)
        values["signs"] = Value(name="signs", kind="codes", shape=size)
        first = (Step(op="sign", a="zero", value="signs"),)
        before = Node(name="sign", op="elementwise", inputs=("x",), shape=size, steps=first)
        nodes = [before, replace(node, inputs=("signs",))]
    graph = Graph(
        nodes=tuple(nodes), values=values, tensors=tensors, input="x", output="y", output_rank=4
    )
    images = random.integers(0, 9, (2, *size))
    x = images.astype(np.uint8) if op == "int8_conv" else (images - 4).astype(np.float32)
    wanted = reference(graph, x)
    session = Session(graph)
    for name, value in session.trace(x, layout="nhwc").items():
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)
    np.testing.assert_array_equal(session(x, layout="nhwc"), wanted["y"].transpose(0, 3, 1, 2))
    assert session.memory.weights < 1 << 21


@pytest.mark.parametrize("seed", range(20))
def test_classes_are_what_lies_inside(seed: int) -> None:
    random = np.random.default_rng(seed)
    size, kernel, stride, step, pad, extent = (int(n) for n in random.integers(1, 7, 6))
    extent -= 1
    outputs = max(1, (size + 2 * pad - step * (kernel - 1) - 1) // stride + 1)
    window = Window(
        kernel=(kernel, 1), stride=(stride, 1), dilation=(step, 1), pads=(pad, 0, pad, 0)
    )
    node = Node(name="n", op="avg_pool", inputs=("x",), shape=(outputs, 1, 1), window=window)
    found = classes(node, (size, 1), (extent, 0))
    for y in range(outputs):
        places = [y * stride - pad + k * step for k in range(kernel)]
        inside = [-extent <= place < size + extent for place in places]
        assert found.rows[found.of_row[y]].tolist() == inside
    assert len(found.rows) == len(set(map(tuple, found.rows.tolist())))


def test_a_very_high_map_is_pooled_in_one_row() -> None:
    """Bands of it would make a program longer than the file."""
    window = Window(kernel=(2, 1), stride=(2, 1))
    size = (8192, 4, 16)
    values = {
        "x": Value(name="x", kind="float", shape=size),
        "m": Value(name="m", kind="float", shape=size),
        "y": Value(name="y", kind="float", shape=(4096, 4, 16)),
    }
    steps = (Step(op="clamp", low=-1.0), Step(op="store", value="m"))
    pooling: Any = {"op": "max_pool", "inputs": ("m",), "shape": (4096, 4, 16), "window": window}
    graph = Graph(
        nodes=(
            Node(name="n", op="elementwise", inputs=("x",), shape=size, steps=steps),
            Node(name="p", steps=(Step(op="store", value="y"),), **pooling),
        ),
        values=values,
        tensors={},
        input="x",
        output="y",
        output_rank=4,
    )
    images = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    session = Session(graph)
    assert len(session.profile(images.transpose(0, 3, 1, 2), 1)) == 4
    wanted = np.maximum(images, -1).reshape(1, 4096, 2, 4, 16).max(2)
    np.testing.assert_array_equal(session(images, layout="nhwc").transpose(0, 2, 3, 1), wanted)
    tracemalloc.start()
    try:
        Session(graph)
        assert tracemalloc.get_traced_memory()[1] < FEW
    finally:
        tracemalloc.stop()
