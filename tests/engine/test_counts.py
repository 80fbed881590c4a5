"""Costs against sums by hand and the numbers that papers print."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from bitlens.engine.counts import count
from bitlens.engine.graph import Graph, Node, Step, Value, Window

HOSTILE = Path(__file__).parents[2] / "benchmarks" / "hostile_files.py"


def resnet18_convs() -> Graph:
    """The sixteen 3x3 convolutions of a ResNet-18 for 224x224 images, one after the other."""
    nodes: list[Node] = []
    values = {"x": Value(name="x", kind="float", shape=(56, 56, 64))}
    tensors = {"t": np.zeros(64, np.float32)}
    side, channels = 56, 64
    steps = (Step(op="sign", value="c0", a="t"),)
    nodes.append(
        Node(name="sign", op="elementwise", inputs=("x",), shape=(56, 56, 64), steps=steps)
    )
    values["c0"] = Value(name="c0", kind="codes", shape=(56, 56, 64))
    for index in range(16):
        wider = index in (4, 8, 12)
        out = 2 * channels if wider else channels
        side = side // 2 if wider else side
        last = index == 15
        name = "y" if last else f"c{index + 1}"
        shape = (side, side, out)
        sink = Step(op="store", value=name) if last else Step(op="sign", value=name, a=f"t{index}")
        tensors[f"w{index}"] = np.zeros((out // 64, 9 * channels // 32, 64), np.uint32)
        if not last:
            tensors[f"t{index}"] = np.zeros(out, np.float32)
        nodes.append(
            Node(
                name=f"conv{index}",
                op="binary_conv",
                inputs=(f"c{index}",),
                shape=shape,
                window=Window(kernel=(3, 3), stride=(1 + wider,) * 2, pads=(1, 1, 1, 1)),
                weights=f"w{index}",
                steps=(sink,),
            )
        )
        values[name] = Value(name=name, kind="float" if last else "codes", shape=shape)
        channels = out
    return Graph(
        nodes=tuple(nodes), values=values, tensors=tensors, input="x", output="y", output_rank=4
    )


def test_resnet18_costs_what_the_papers_say() -> None:
    """1.6763 G binary MACs and 10.985 Mbit of signs in the sixteen convolutions."""
    total = count(resnet18_convs()).total
    assert total.binary == 1_676_279_808
    assert total.weight_bytes == {"binary": 10_985_472 // 8}
    assert total.ops == pytest.approx(26.19e6, rel=1e-3)
    assert (total.int8, total.float) == (0, 0)


def test_the_first_convolution_by_hand() -> None:
    counted = count(resnet18_convs()).nodes[1]
    assert (counted.name, counted.op) == ("conv0", "binary_conv")
    assert counted.cost.binary == 56 * 56 * 64 * 64 * 9
    assert counted.cost.weight_bytes == {"binary": 64 * 64 * 9 // 8}
    assert counted.cost.constant_bytes == 4 * 64
    assert counted.cost.value_bytes == {"codes": 56 * 56 * 64 // 8}
    assert counted.cost.other == 56 * 56 * 64


def test_every_operation_of_the_sample_by_hand() -> None:
    graph = runpy.run_path(str(HOSTILE))["sample_graph"]()
    counts = {node.name: node.cost for node in count(graph).nodes}
    assert counts["stem"].int8 == 8 * 8 * 8 * 3 * 9
    assert counts["stem"].other == 2 * 512
    assert counts["stem"].constant_bytes == 4 * (8 + 3 + 8 + 8 + 8) + 8
    assert counts["stem"].value_bytes == {"float": 4 * 512, "codes": 64 * 4}
    assert counts["block.conv"].binary == 512 * 4 * 9
    assert counts["block.conv"].other == 5 * 512
    assert counts["unit"].binary == 4 * 4 * 5 * 8 * 6
    assert counts["largest"].other == 4 * 128
    assert counts["mean"].other == 9 * 128
    assert counts["joined"].other == 0
    assert counts["larger"].other == counts["gate"].other == 360
    assert counts["gated"].other == 3 * 360
    assert counts["gated"].value_bytes == {"u8": 360, "float": 4 * 360}
    assert counts["turned"].float == 360 * 10
    assert counts["turned"].weight_bytes == {"binary": 40}
    assert counts["bytes"].int8 == 360 * 10
    assert counts["head"].float == 4 * 40
    total = count(graph).total
    assert total.int8 == counts["stem"].int8 + 3600
    assert total.ops == total.float + total.int8 / 8 + total.binary / 64
    assert total.macs == total.float + total.int8 + total.binary
    assert total.bytes == sum(tensor.nbytes for tensor in graph.tensors.values())


def test_a_shared_tensor_counts_once() -> None:
    graph = resnet18_convs()
    tensors = {**graph.tensors, "w1": graph.tensors["w0"]}
    nodes = list(graph.nodes)
    nodes[2] = Node(**{**nodes[2].__dict__, "weights": "w0"})
    shared = Graph(**{**graph.__dict__, "nodes": tuple(nodes), "tensors": tensors})
    counts = count(shared).nodes
    assert counts[1].cost.weight_bytes == {"binary": 4608}
    assert counts[2].cost.weight_bytes == {"binary": 0}
    assert counts[2].cost.binary == counts[1].cost.binary
