"""The 1-bit weights of a packed net, against the arrays they were packed from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bitlens.engine.file.format import write
from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.signs import signs
from bitlens.engine.words import pack_blocks, pack_rows


def two_layers() -> tuple[Graph, np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    conv, linear, turned = (
        draw.choice(np.array([-1, 1], np.int8), shape)
        for shape in ((66, 3, 2, 2), (7, 66, 1, 1), (5, 7, 1, 1))
    )
    sign = Step(op="sign", value="c", a="t")
    nodes = (
        Node(name="sign", op="elementwise", inputs=("x",), shape=(2, 2, 6), steps=(sign,)),
        Node(
            name="block.conv",
            op="binary_conv",
            inputs=("c",),
            shape=(1, 1, 66),
            window=Window(kernel=(2, 2)),
            groups=2,
            weights="conv",
            steps=(Step(op="sign", value="c2", a="t2"),),
        ),
        Node(
            name="fc",
            op="binary_conv",
            inputs=("c2",),
            shape=(1, 1, 7),
            weights="linear",
            steps=(Step(op="store", value="f"),),
        ),
        Node(
            name="turned",
            op="sign_conv",
            inputs=("f",),
            shape=(1, 1, 5),
            weights="turned",
            steps=(Step(op="store", value="y"),),
        ),
    )
    values = {
        name: Value(name=name, kind=kind, shape=shape)
        for name, kind, shape in (
            ("x", "float", (2, 2, 6)),
            ("c", "codes", (2, 2, 6)),
            ("c2", "codes", (1, 1, 66)),
            ("f", "float", (1, 1, 7)),
            ("y", "float", (1, 1, 5)),
        )
    }
    tensors = {
        "t": np.zeros(6, np.float32),
        "t2": np.zeros(66, np.float32),
        "conv": pack_blocks(conv, 2),
        "linear": pack_blocks(linear),
        "turned": pack_rows(turned),
    }
    graph = Graph(nodes=nodes, values=values, tensors=tensors, input="x", output="y", output_rank=2)
    return graph, conv, linear, turned


def test_signs_of_a_file_and_of_a_graph(tmp_path: Path) -> None:
    graph, conv, linear, turned = two_layers()
    write(graph, tmp_path / "net.bits")
    for source in (graph, tmp_path / "net.bits", str(tmp_path / "net.bits")):
        found = signs(source)
        assert list(found) == ["block.conv", "fc", "turned"]
        assert {array.dtype for array in found.values()} == {np.dtype(np.int8)}
        np.testing.assert_array_equal(found["block.conv"], conv)
        np.testing.assert_array_equal(found["fc"], linear[:, :, 0, 0])
        np.testing.assert_array_equal(found["turned"], turned[:, :, 0, 0])


def test_meta_tells_a_convolution_from_a_linear_layer() -> None:
    graph, _, _, turned = two_layers()
    layers = [{"name": "fc", "op": "linear"}, {"name": "turned", "op": "conv"}]
    found = signs(replace(graph, meta={"layers": layers}))
    assert found["fc"].shape == (7, 66)
    np.testing.assert_array_equal(found["turned"], turned)


def test_a_layer_called_twice_is_there_once() -> None:
    graph, conv, linear, _ = two_layers()
    again = replace(graph.nodes[2], name="fc#2", steps=(Step(op="store", value="f2"),))
    values = {**graph.values, "f2": replace(graph.values["f"], name="f2")}
    twice = replace(graph, nodes=(*graph.nodes[:3], again, graph.nodes[3]), values=values)
    assert list(signs(twice)) == ["block.conv", "fc", "turned"]
    np.testing.assert_array_equal(signs(twice)["fc"], linear[:, :, 0, 0])
    np.testing.assert_array_equal(signs(twice)["block.conv"], conv)
