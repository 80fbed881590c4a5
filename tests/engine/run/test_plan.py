"""The parts of a plan: fused nodes, places in memory, bands, weights laid out anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.reference import run as reference
from bitlens.engine.run import layout
from bitlens.engine.run.accumulate import accumulator
from bitlens.engine.run.bands import ring, turns
from bitlens.engine.run.fuse import fuse
from bitlens.engine.run.memory import Span, arrange, place
from bitlens.engine.run.operations import order
from bitlens.engine.run.plan import plan
from bitlens.engine.words import pack_blocks, pack_rows

SPANS = st.lists(
    st.builds(
        lambda size, first, length: Span(size=size, first=first, last=first + length),
        st.integers(1, 5000),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    max_size=25,
)


@given(SPANS)
def test_spans_alive_at_once_lie_apart(spans: list[Span]) -> None:
    starts, arena = arrange(spans)
    for i, a in enumerate(spans):
        assert starts[i] % 64 == 0 and starts[i] + a.size <= arena
        for j, b in enumerate(spans[:i]):
            together = a.first <= b.last and b.first <= a.last
            apart = starts[i] + a.size <= starts[j] or starts[j] + b.size <= starts[i]
            assert apart or not together
    assert arena <= sum(-(-span.size // 64) * 64 for span in spans)


def test_spans_after_each_other_share_memory() -> None:
    assert arrange([Span(size=640, first=i, last=i) for i in range(5)])[1] == 640
    assert arrange([Span(size=640, first=i, last=i + 1) for i in range(5)])[1] == 1280
    assert arrange([]) == ([], 0)


def pooling(kernel: int, stride: int, dilation: int, pad: int, height: int) -> Node:
    rows = (height + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    window = Window(
        kernel=(kernel, 1), stride=(stride, 1), dilation=(dilation, 1), pads=(pad, 0, pad, 0)
    )
    return Node(name="pool", op="max_pool", inputs=("map",), shape=(rows, 1, 16), window=window)


@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 7),
    dilation=st.integers(1, 3),
    pad=st.integers(0, 2),
    height=st.integers(13, 40),
)
def test_a_ring_holds_what_the_pooling_sees(
    kernel: int, stride: int, dilation: int, pad: int, height: int
) -> None:
    pool = pooling(kernel, stride, dilation, min(pad, kernel // 2), height)
    slots = ring(Value(name="map", kind="float", shape=(height, 1, 16)), pool).shape[0]
    held: dict[int, int] = {}
    made, pooled = [], []
    for turn in turns(pool, height):
        for row in range(turn.first, turn.first + turn.count):
            assert turn.first // slots == row // slots, "a run of rows wraps"
            held[row % slots] = row
            made.append(row)
        if not turn.count:
            pooled.append(turn.first)
            for k, row in turn.seen:
                assert row == turn.first * stride - pool.window.pads[0] + k * dilation
                assert held[row % slots] == row
    assert made == list(range(height))
    assert pooled == list(range(pool.shape[0]))


SHAPE = (2, 3, 16)


def chain(*nodes: Node) -> Graph:
    names = {"x", *(name for node in nodes for name in node.outputs)}
    return Graph(
        nodes=nodes,
        values={n: Value(name=n, kind="float", shape=SHAPE) for n in names},
        tensors={"a": np.linspace(-1, 1, 16, dtype=np.float32)},
        input="x",
        output=nodes[-1].outputs[-1],
        output_rank=4,
    )


def element(name: str, source: str, *steps: Step) -> Node:
    return Node(name=name, op="elementwise", inputs=(source,), shape=SHAPE, steps=steps)


def store(value: str) -> Step:
    return Step(op="store", value=value)


def read(value: str) -> Step:
    return Step(op="add_value", value=value)


ADD = Step(op="add", a="a")


def test_an_elementwise_node_joins_its_maker() -> None:
    graph = chain(element("one", "x", ADD, store("y")), element("two", "y", ADD, store("z")))
    (node,) = fuse(graph)
    assert node.steps == (ADD, ADD, store("z"))
    image = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    fused = replace(graph, nodes=(node,))
    np.testing.assert_array_equal(
        reference.run(fused, image)["z"], reference.run(graph, image)["z"]
    )


def test_a_value_that_others_read_is_stored_still() -> None:
    graph = chain(
        element("one", "x", ADD, store("y")),
        element("two", "y", ADD, store("z")),
        element("three", "z", read("y"), store("w")),
    )
    first = fuse(graph)[0]
    assert first.steps == (ADD, store("y"), ADD, store("z"))


@pytest.mark.parametrize(
    "nodes",
    [
        (element("one", "x", store("y"), ADD, store("w")), element("two", "y", store("z"))),
        (
            element("one", "x", store("y")),
            element("side", "x", ADD, ADD, store("w")),
            element("two", "y", read("w"), store("z")),
        ),
        (element("one", "x", store("y")), element("two", "y", read("y"), store("z"))),
    ],
    ids=["t has moved on", "reads what is made later", "reads itself"],
)
def test_what_cannot_be_joined_stays(nodes: tuple[Node, ...]) -> None:
    assert fuse(chain(*nodes)) == nodes


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 12, 17, 101])
@pytest.mark.parametrize("each", [1, 5, 16, 24])
def test_merged_groups_compute_the_same(groups: int, each: int) -> None:
    random = np.random.default_rng(groups * each)
    cg = 3 if groups > 1 else 7
    weights = random.integers(-9, 10, (groups * each, 1, 1, cg))
    x = random.integers(-9, 10, groups * cg)
    apart = [
        weights[g * each : (g + 1) * each, 0, 0] @ x[g * cg : (g + 1) * cg] for g in range(groups)
    ]
    joined, done = [], 0
    runs = layout.joined_groups(groups, each)
    for count, together in runs:
        part = weights[done * each : (done + count) * each]
        merged = layout.merge_groups(part, count, together)
        wide, rows = together * cg, together * each
        assert merged.shape[3] == wide and together <= 16
        for g in range(count // together):
            seen = x[done * cg + g * wide : done * cg + (g + 1) * wide]
            joined.append(merged[g * rows : (g + 1) * rows, 0, 0] @ seen)
        assert count == together or rows % 16 == 0
        done += count
    assert done == groups and len(runs) <= 2
    np.testing.assert_array_equal(np.concatenate(joined), np.concatenate(apart))


def test_blocks_of_weights() -> None:
    random = np.random.default_rng(0)
    weights = random.integers(-128, 128, (70, 2, 3, 5)).astype(np.int8)
    by_position = layout.dot_blocks(weights, 2)
    assert by_position.shape == (2, 6 * 2, 64, 4) and by_position.ctypes.data % 64 == 0
    np.testing.assert_array_equal(
        by_position[1, 2:4, 34].reshape(-1), [*weights[69, 0, 1], 0, 0, 0]
    )
    assert not by_position[1, :, 35:].any()
    floats = layout.multiply_blocks(weights, 1)
    np.testing.assert_array_equal(floats[1, :, 5], weights[69].reshape(-1))
    assert not floats[1, :, 6:].any()


@pytest.mark.parametrize(
    ("kernel", "channels", "terms", "loose"),
    [
        ((7, 7), 3, 35, 2),
        ((3, 3), 3, 6, 1),
        ((3, 1), 2, 0, 2),
        ((2, 3), 5, 6, 2),
        ((3, 3), 4, 9, 0),
    ],
)
def test_ends_of_rows_of_a_window_share_terms(
    kernel: tuple[int, int], channels: int, terms: int, loose: int
) -> None:
    random = np.random.default_rng(terms)
    weights = random.integers(-127, 128, (70, *kernel, channels)).astype(np.int8)
    size = (kernel[0] + 2, kernel[1] + 3, channels)
    image = Value(name="image", kind="u8", shape=size)
    out = Value(name="y", kind="float", shape=(3, 4, 70))
    node = Node(
        name="conv",
        op="int8_conv",
        inputs=("image",),
        shape=out.shape,
        window=Window(kernel=kernel),
        weights="w",
        scale="scale",
        zero="zero",
        steps=(store("y"),),
    )
    tensors = {
        "w": weights,
        "scale": np.ones(70, np.float32),
        "zero": np.zeros(channels, np.float32),
    }
    graph = Graph(
        nodes=(node,),
        values={"image": image, "y": out},
        tensors=tensors,
        input="image",
        output="y",
        output_rank=4,
    )
    source = place(image)
    sums = accumulator(graph, node, source)
    assert (sums.offsets.size - 4 * sums.loose, sums.loose) == (terms, loose)
    assert sums.weights is not None and sums.weights.shape == (2, terms + loose, 64, 4)
    pixels = random.integers(0, 256, size, dtype=np.uint8)
    start = source.at(2, 1)
    fours = sums.offsets[:terms, None] + np.arange(4)
    places = start + np.concatenate([fours, sums.offsets[terms:].reshape(-1, 4)])
    read = np.append(pixels.reshape(-1), np.zeros(64, np.uint8))[places].astype(np.int64)
    found = (sums.weights.transpose(0, 2, 1, 3).astype(np.int64) * read).sum((2, 3)).reshape(-1)
    window = pixels[2 : 2 + kernel[0], 1 : 1 + kernel[1]].astype(np.int64)
    expected = (weights.astype(np.int64) * window).sum((1, 2, 3))
    np.testing.assert_array_equal(found[:70], expected)


def test_signs_of_64_filters_in_two_words() -> None:
    random = np.random.default_rng(0)
    signs = 2 * random.integers(0, 2, (70, 33, 2, 1)) - 1
    blocks = layout.signed_blocks(pack_rows(signs), 33, 1)
    assert blocks.shape == (2, 66, 2)
    for o, c, row in ((0, 0, 0), (63, 32, 1), (31, 5, 0), (32, 6, 1), (69, 31, 1)):
        word = int(blocks[o // 64, row * 33 + c, o % 64 // 32])
        assert (word >> (o % 32) & 1) == (signs[o, c, row, 0] > 0)


@pytest.mark.parametrize("groups", [1, 2])
def test_sums_of_signs_come_from_the_words(groups: int) -> None:
    random = np.random.default_rng(0)
    signs = 2 * random.integers(0, 2, (140, 37, 3, 2)) - 1
    sums = layout.tap_sums(pack_blocks(signs, groups), (140, 3, 2, 37), groups)
    np.testing.assert_array_equal(sums, signs.sum(1))


def test_binary_weights_are_used_where_they_lie() -> None:
    signs = 2 * np.random.default_rng(0).integers(0, 2, (64, 32, 1, 1)) - 1
    words = layout.aligned(pack_blocks(signs))
    sign = Step(op="sign", a="a", value="codes")
    graph = Graph(
        nodes=(
            Node(name="sign", op="elementwise", inputs=("x",), shape=(1, 1, 32), steps=(sign,)),
            Node(
                name="conv",
                op="binary_conv",
                inputs=("codes",),
                shape=(1, 1, 64),
                weights="words",
                steps=(store("y"),),
            ),
        ),
        values={
            "x": Value(name="x", kind="float", shape=(1, 1, 32)),
            "codes": Value(name="codes", kind="codes", shape=(1, 1, 32)),
            "y": Value(name="y", kind="float", shape=(1, 1, 64)),
        },
        tensors={"words": words, "a": np.zeros(32, np.float32)},
        input="x",
        output="y",
        output_rank=2,
    )
    assert any(np.shares_memory(kept, words) for kept in plan(graph).kept)


def test_random_nets_meet_every_kind_of_operation(random_net: Callable[..., Graph]) -> None:
    """So that tests over them mean something."""
    kinds, shared, joined = set(), 0, 0
    for seed in range(120):
        graph = random_net(seed, 10)
        nodes = fuse(graph)
        joined += len(graph.nodes) - len(nodes)
        ordered = order(graph, nodes, whole=False)
        kinds |= {operation.kind for operation in ordered.operations}
        shared += len(ordered.homes)
    assert kinds >= {"image", "tiled", "move", "border", "expand", "regroup", "answer"}
    assert shared > 50 and joined > 50
