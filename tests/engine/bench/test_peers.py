"""Every peer answers the float twin; one whose package is missing says so. Times are not looked at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.engine.bench.peers import GROUPS, PEERS, named, prepare
from bitlens.engine.bench.peers.images import calibration_images, random_images
from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.reference import run as reference
from bitlens.errors import BitlensError


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Float convolution, PReLU, pool, residual, global mean, head: every peer can compute it exactly."""
    draw = np.random.default_rng(0)
    shape = (8, 8, 16)
    nodes = (
        Node(
            name="stem",
            op="float_conv",
            inputs=("x",),
            shape=shape,
            window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
            weights="stem",
            steps=(
                Step(op="add", a="bias"),
                Step(op="prelu", a="slope"),
                Step(op="store", value="a"),
            ),
        ),
        Node(
            name="body",
            op="float_conv",
            inputs=("a",),
            shape=shape,
            window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
            weights="body",
            steps=(Step(op="add_value", value="a"), Step(op="store", value="b")),
        ),
        Node(
            name="pool",
            op="avg_pool",
            inputs=("b",),
            shape=(4, 4, 16),
            window=Window(kernel=(2, 2), stride=(2, 2)),
            attributes={"count": "inside"},
            steps=(Step(op="store", value="c"),),
        ),
        Node(
            name="mean",
            op="avg_pool",
            inputs=("c",),
            shape=(1, 1, 16),
            window=Window(kernel=(4, 4)),
            attributes={"count": "inside"},
            steps=(Step(op="store", value="d"),),
        ),
        Node(
            name="head",
            op="float_conv",
            inputs=("d",),
            shape=(1, 1, 5),
            weights="head",
            steps=(Step(op="store", value="y"),),
        ),
    )
    shapes = {"x": (8, 8, 3), "a": shape, "b": shape, "c": (4, 4, 16), "d": (1, 1, 16)}
    shapes["y"] = (1, 1, 5)
    return Graph(
        nodes=nodes,
        values={n: Value(name=n, kind="float", shape=s) for n, s in shapes.items()},
        tensors={
            "stem": draw.normal(size=(16, 3, 3, 3)).astype(np.float32) / np.float32(5),
            "body": draw.normal(size=(16, 3, 3, 16)).astype(np.float32) / np.float32(12),
            "head": draw.normal(size=(5, 1, 1, 16)).astype(np.float32),
            "bias": draw.normal(size=16).astype(np.float32),
            "slope": draw.uniform(0, 0.5, 16).astype(np.float32),
        },
        input="x",
        output="y",
        output_rank=2,
    )


def first_of(answer: Any) -> np.ndarray:
    """The only output in what an engine returns."""
    if isinstance(answer, list):
        return answer[0]
    return answer.numpy() if hasattr(answer, "numpy") else answer[0]


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("ignore")
def test_every_peer_answers_the_twin(graph: Graph, name: str) -> None:
    for package in PEERS[name][1]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    peer = prepare(name, graph, 1)
    answer = np.asarray(first_of(peer.run()))
    truth = reference.run(graph, random_images(graph).transpose(0, 2, 3, 1))["y"][:, 0, 0]
    coarse = "int8" in name
    np.testing.assert_allclose(answer, truth, atol=0.1 if coarse else 1e-4)
    assert coarse == (np.abs(answer - truth).max() > 1e-5), "int8 is int8, and float is float"
    assert peer.version and "," in peer.description


def test_threads_are_set(graph: Graph) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        prepare("torch", graph, 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_names_and_groups() -> None:
    assert named(["torch", "int8", "openvino-int8"]) == ("torch", *GROUPS["int8"])
    assert named(["all"]) == tuple(PEERS)
    assert all(set(members) <= set(PEERS) for members in GROUPS.values())
    with pytest.raises(BitlensError, match="unknown peer 'onnxruntim'; did you mean onnxruntime"):
        named(["onnxruntim"])


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_package_is_told(
    graph: Graph, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = PEERS[name][1][0]
    for module in [m for m in sys.modules if m.startswith("bitlens.engine.bench.peers.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BitlensError) as told:
        prepare(name, graph, 1)
    # Where others are missing too, the first one that is needed is told.
    assert str(told.value) in [
        f"peer {name}: the package {missing} is not installed; pip install 'bitlens[bench]'"
        for missing in PEERS[name][1]
    ]


def test_a_mistake_inside_a_peer_is_not_called_a_missing_package(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PEERS, "torch", ("torch_eagre", ("torch",)))
    with pytest.raises(ModuleNotFoundError, match="torch_eagre"):
        prepare("torch", graph, 1)


def test_one_file_a_peer() -> None:
    import bitlens.engine.bench.peers as package

    files = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
    assert files == {"__init__", "images", *(module for module, _ in PEERS.values())}


def test_images_are_the_same_on_every_call(graph: Graph) -> None:
    assert (random_images(graph, 2) == random_images(graph, 2)).all()
    assert random_images(graph, 2).shape == (2, 3, 8, 8)
    assert {image.shape for image in calibration_images(graph)} == {(1, 3, 8, 8)}
