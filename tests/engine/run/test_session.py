"""A packed net on images: every value against slow numpy, and what callers bring wrongly."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.engine.graph import TILED, Graph, Node, Step, Value, Window
from bitlens.engine.reference import run as reference
from bitlens.engine.run.session import Session
from bitlens.engine.words import pack_blocks
from bitlens.errors import BitlensError

OPEN = ("float_conv", "sign_conv", "unary", "resize")
"""Nodes whose order of summation, or function, is not fixed to the last bit."""
Nets = Callable[..., Graph]
MAKE: dict[str, Nets] = {}


@pytest.fixture(autouse=True)
def _nets(random_net: Nets) -> None:
    # Hypothesis runs many examples in one test, so the fixture is handed on by this dict.
    MAKE["net"] = random_net


def images_for(graph: Graph, count: int, seed: int = 0) -> np.ndarray:
    value = graph.values[graph.input]
    height, width, channels = value.shape
    random = np.random.default_rng(seed)
    shape = (count, channels, height, width)
    if value.kind == "u8":
        return random.integers(0, 256, shape).astype(np.uint8)
    return random.uniform(-1, 1, shape).astype(np.float32)


def expected(graph: Graph, node: Node, traced: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the reference makes of a node's traced inputs."""
    values = dict(traced)
    with np.errstate(all="ignore"):
        made = reference._element(graph, node, values)
        if node.op in TILED:
            reference._walk(graph, node, made.astype(np.float32), values)
        else:
            values[str(node.output)] = made
    return {name: values[name] for name in node.outputs}


def check(graph: Graph, threads: int = 1, seed: int = 0) -> None:
    """Every value of every node, and that the fused net answers as the traced one."""
    session = Session(graph, threads)
    images = images_for(graph, 2, seed)
    traced = session.trace(images)
    assert set(traced) == set(graph.values)
    for node in graph.nodes:
        for name, value in expected(graph, node, traced).items():
            if node.op in OPEN:
                np.testing.assert_allclose(traced[name], value, rtol=3e-4, atol=3e-4, err_msg=name)
            else:
                np.testing.assert_array_equal(traced[name], value, err_msg=f"{node} makes {name}")
    answers = session(images)
    np.testing.assert_array_equal(answers.transpose(0, 2, 3, 1), traced[graph.output])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), nodes=st.integers(1, 12), threads=st.integers(1, 4))
def test_every_value_of_a_random_net(seed: int, nodes: int, threads: int) -> None:
    check(MAKE["net"](seed, nodes), threads, seed)


@pytest.mark.slow
def test_every_value_on_slower_instructions() -> None:
    """The same nets in a process that takes this CPU for one without AVX-512."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from conftest import Maker\nfrom test_session import check\n"
        "from bitlens.engine.run.session import Session\n"
        "graph = Maker(0).grow(2)\nprint(Session(graph).kernel)\n"
        "for seed in range(40): check(Maker(seed).grow(8), 1, seed)\n"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("names an x86 CPU")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, Path(__file__).parents[:2])],
        env={**os.environ, "NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["avx2"]


def stem(height: int, width: int, pool: str, stride: int, *, after: str = "sign") -> Graph:
    """A convolution, a pooling and an elementwise node over a map too large for the cache."""
    random = np.random.default_rng(height + width)
    conv = Window(kernel=(3, 3), pads=(1, 1, 1, 1))
    pooling = Window(kernel=(3, 3), stride=(stride, stride), pads=(1, 1, 1, 1))
    shape, c = (height, width, 64), 64
    small = ((height - 1) // stride + 1, (width - 1) // stride + 1, c)
    made: dict[str, Any] = {
        "image": ("u8", (height, width, 3)),
        "map": ("float", shape),
        "pooled": ("float", small),
        "codes": ("codes", small),
        "answer": ("float", small),
    }
    steps = (Step(op="add", a="shift"), Step(op="store", value="map"))
    if after == "sign too":
        made["early"] = ("codes", shape)
        steps = (*steps, Step(op="sign", a="shift", value="early"))
    return Graph(
        nodes=(
            Node(
                name="conv",
                op="int8_conv",
                inputs=("image",),
                shape=shape,
                window=conv,
                weights="weights",
                scale="scale",
                zero="zero",
                steps=steps,
            ),
            Node(
                name="pool",
                op=pool,  # type: ignore[arg-type]
                inputs=("map",),
                shape=small,
                window=pooling,
                attributes={"count": "inside"} if pool == "avg_pool" else {},
                steps=(Step(op="store", value="pooled"),),
            ),
            Node(
                name="after",
                op="elementwise",
                inputs=("pooled",),
                shape=small,
                steps=(
                    Step(op="sign", a="shift", value="codes"),
                    Step(op="prelu", a="shift"),
                    Step(op="store", value="answer"),
                ),
            ),
        ),
        values={k: Value(name=k, kind=kind, shape=s) for k, (kind, s) in made.items()},
        tensors={
            "weights": random.integers(-128, 128, (c, 3, 3, 3)).astype(np.int8),
            "scale": random.uniform(0.0001, 0.001, c).astype(np.float32),
            "zero": np.array([120, 130, 140], np.float32),
            "shift": random.uniform(-1, 1, c).astype(np.float32),
        },
        input="image",
        output="answer",
        output_rank=4,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


@pytest.mark.parametrize("pool", ["max_pool", "avg_pool"])
@pytest.mark.parametrize(("height", "width", "stride"), [(53, 47, 2), (48, 64, 1), (61, 41, 3)])
@pytest.mark.parametrize("after", ["sign", "sign too"])
def test_a_large_map_is_pooled_in_bands(
    pool: str, height: int, width: int, stride: int, after: str
) -> None:
    graph = stem(height, width, pool, stride, after=after)
    check(graph)
    session = Session(graph)
    assert [op for _, op, _ in session.profile(images_for(graph, 1), 1)] == [
        "image",
        "band",
        "answer",
    ]
    pooled = graph.values["pooled"].shape
    whole = 4 * (height * width * 64 + np.prod(pooled))
    assert session.memory.arena < whole - 0.8 * 4 * height * width * 64


def residual(size: int = 28, blocks: int = 4) -> Graph:
    """Binary convolutions with a sum around each: the memory of a residual net."""
    random = np.random.default_rng(1)
    shape = (size, size, 64)
    values = {"image": Value(name="image", kind="float", shape=shape)}
    tensors = {"threshold": random.uniform(-1, 1, 64).astype(np.float32)}
    nodes = []

    def value(name: str, kind: Any) -> str:
        values[name] = Value(name=name, kind=kind, shape=shape)
        return name

    sign = Step(op="sign", a="threshold", value=value("codes0", "codes"))
    first = (Step(op="store", value=value("sum0", "float")), sign)
    nodes.append(Node(name="first", op="elementwise", inputs=("image",), shape=shape, steps=first))
    for i in range(blocks):
        weights = 2 * random.integers(0, 2, (64, 64, 3, 3)) - 1
        tensors[f"weights{i}"] = pack_blocks(weights)
        steps = (
            Step(op="multiply", a="threshold"),
            Step(op="add_value", value=f"sum{i}"),
            Step(op="store", value=value(f"sum{i + 1}", "float")),
            Step(op="sign", a="threshold", value=value(f"codes{i + 1}", "codes")),
        )
        nodes.append(
            Node(
                name=f"conv{i}",
                op="binary_conv",
                inputs=(f"codes{i}",),
                shape=shape,
                window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
                weights=f"weights{i}",
                steps=steps,
            )
        )
    return Graph(
        nodes=tuple(nodes),
        values=values,
        tensors=tensors,
        input="image",
        output=f"sum{blocks}",
        output_rank=4,
    )


def test_a_residual_net_is_summed_in_place() -> None:
    graph = residual()
    check(graph)
    memory = Session(graph).memory
    largest = 28 * 28 * 64 * 4
    packed = sum(tensor.nbytes for tensor in graph.tensors.values())
    assert memory.peak < packed + 3 * largest
    assert memory.arena < 2.5 * largest
    assert memory.peak == memory.weights + memory.arena


def test_threads_have_arenas_of_their_own() -> None:
    graph = residual(size=9)
    images = images_for(graph, 130)
    alone = Session(graph)(images)
    session = Session(graph, threads=3)
    np.testing.assert_array_equal(session(images), alone)
    assert session.memory.arena == Session(graph).memory.arena
    assert session.memory.peak > Session(graph).memory.peak
    answers: list[np.ndarray] = []
    callers = [threading.Thread(target=lambda: answers.append(session(images))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(answers) == 4
    assert all(np.array_equal(answer, alone) for answer in answers)


def test_images_of_any_strides_and_kind() -> None:
    graph = stem(13, 11, "max_pool", 2)
    images = images_for(graph, 3)
    session = Session(graph)
    answers = session(images)
    assert answers.dtype == np.float32
    nhwc = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(session(nhwc, layout="nhwc"), answers)
    np.testing.assert_array_equal(session(nhwc.transpose(0, 3, 1, 2)), answers)
    wide = np.zeros((6, 3, 26, 11), np.uint8)
    wide[::2, :, ::2, ::-1] = images
    np.testing.assert_array_equal(session(wide[::2, :, ::2, ::-1]), answers)
    tensor = session(torch.from_numpy(images))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), answers)


def test_normalised_floats_are_the_bytes_they_came_from() -> None:
    from bitlens.data.normalize import normalize

    graph = stem(9, 16, "max_pool", 2)
    graph = replace(graph, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    images = np.arange(256 * 9, dtype=np.uint8).reshape(-1, 1, 9, 16)[:16].repeat(3, axis=1)
    session = Session(graph)
    floats = normalize(torch.from_numpy(images), graph.mean, graph.std)  # type: ignore[arg-type]
    np.testing.assert_array_equal(session(floats).numpy(), session(images))


def test_an_empty_batch_has_an_empty_answer() -> None:
    graph = residual(size=5, blocks=1)
    assert Session(graph)(np.zeros((0, 64, 5, 5), np.float32)).shape == (0, 64, 5, 5)


@pytest.mark.parametrize(
    ("images", "layout", "message"),
    [
        (np.zeros((3, 9, 11), np.uint8), "nchw", r"one image without a batch; images\[None\]"),
        (np.zeros((9, 11), np.uint8), "nchw", r"2 axes; this net takes \(n, 3, 9, 11\)"),
        (np.zeros((1, 9, 11, 3), np.uint8), "nchw", r"pass layout='nhwc'"),
        (np.zeros((1, 3, 9, 11), np.uint8), "nhwc", r"pass layout='nchw'"),
        (np.zeros((1, 3, 9, 12), np.uint8), "nchw", r"takes \(n, 3, 9, 11\).*resize or crop"),
        (np.zeros((1, 3, 9, 11), np.uint8), "hwc", r"unknown layout 'hwc'"),
        (np.zeros((1, 3, 9, 11)), "nchw", r"images are float64; a net takes uint8"),
        (np.zeros((1, 3, 9, 11), np.int64), "nchw", r"images are int64"),
        (torch.zeros((1, 3, 9, 11), dtype=torch.bfloat16), "nchw", r"bfloat16.*images\.float"),
        ([[0]], "nchw", r"images are a list; bring a numpy array"),
        (np.full((1, 3, 9, 11), np.nan, np.float32), "nchw", r"images\[0\] holds NaN or infinity"),
        (np.full((1, 3, 9, 11), -np.inf, np.float32), "nchw", r"images\[0\] holds NaN or infinity"),
        (
            np.full((1, 3, 9, 11), 200, np.float32),
            "nchw",
            r"from 200 to 200, but bytes become -2 to",
        ),
    ],
)
def test_wrong_images_are_told_apart(images: Any, layout: str, message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        Session(stem(9, 11, "max_pool", 2))(images, layout)


def test_the_index_of_a_spoiled_image_is_named() -> None:
    images = np.zeros((70, 3, 9, 11), np.float32)
    images[67, 1, 2, 3] = np.inf
    with pytest.raises(BitlensError, match=r"images\[67\]"):
        Session(stem(9, 11, "max_pool", 2))(images)


def test_images_that_look_unnormalised_are_warned_of_once() -> None:
    session = Session(stem(9, 11, "max_pool", 2))
    images = np.linspace(0, 1, 297, dtype=np.float32).reshape(1, 3, 9, 11)
    with pytest.warns(UserWarning, match=r"look like \[0, 1\] before normalisation"):
        session(images)
    session(images)


def test_bytes_need_a_normalisation() -> None:
    with pytest.raises(BitlensError, match=r"packed without mean and std.*pack it again"):
        Session(residual(size=5, blocks=1))(np.zeros((1, 64, 5, 5), np.uint8))
    graph = replace(stem(9, 11, "max_pool", 2), mean=None, std=None)
    with pytest.raises(BitlensError, match=r"takes bytes and was packed without mean and std"):
        Session(graph)(np.zeros((1, 3, 9, 11), np.float32))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_count_cores(threads: Any) -> None:
    with pytest.raises(BitlensError, match=r"threads is .*give 1 or more"):
        Session(residual(size=5, blocks=1), threads)


def test_backends() -> None:
    graph = residual(size=5, blocks=1)
    with pytest.raises(BitlensError, match=r"unknown backend 'cuda'"):
        Session(graph, backend="cuda")
    with pytest.raises(BitlensError, match=r"unknown backend 'gpu'"):
        Session(graph, backend="gpu")
    with pytest.raises(BitlensError, match=r"profile needs an image"):
        Session(graph).profile(np.zeros((0, 64, 5, 5), np.float32))


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("pad", [-1, 0, 1])
@pytest.mark.parametrize("channels", [3, 32])
def test_sums_of_signs_at_edges_are_scaled_once(channels: int, pad: int, unit: bool) -> None:
    """Odd and halved sums too, and scales at the ends of the range of floats."""
    random = np.random.default_rng(channels)
    shape, out = (5, 6, channels), (5, 6, 16)
    scale = random.normal(0, 1, 16).astype(np.float32)
    scale[:4] = 0, -0.0, 1e-45, -1e-40
    tensors = {
        "zero": np.zeros(channels, np.float32),
        "weights": pack_blocks(2 * random.integers(0, 2, (16, channels, 3, 3)) - 1),
        "scale": scale,
        "large": np.full(16, 3e38, np.float32),
    }
    sign = Step(op="sign", a="zero", value="codes")
    nodes = [Node(name="sign", op="elementwise", inputs=("x",), shape=shape, steps=(sign,))]
    values = {
        "x": Value(name="x", kind="float", shape=shape),
        "codes": Value(name="codes", kind="codes", shape=shape),
    }
    for name in ("scale", "large"):
        values[name] = Value(name=name, kind="float", shape=out)
        steps = (Step(op="multiply", a=name), Step(op="store", value=name))
        nodes.append(
            Node(
                name=name,
                op="binary_conv",
                inputs=("codes",),
                shape=out,
                window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
                weights="weights",
                pad=pad,
                unit=unit,
                steps=steps,
            )
        )
    graph = Graph(
        nodes=tuple(nodes), values=values, tensors=tensors, input="x", output="large", output_rank=4
    )
    traced = Session(graph).trace(images_for(graph, 2))
    for node in graph.nodes:
        for name, value in expected(graph, node, traced).items():
            # A zero has a sign, and it must be the one of the product.
            assert traced[name].tobytes() == np.ascontiguousarray(value).tobytes(), name
