"""What the channels of a map mean, as files tell it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bitlens.engine.errors import BitsFileError
from bitlens.engine.file.validate import check
from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.heads import Heads, heads_for, heads_of
from bitlens.errors import BitlensError


def net(map_size: tuple[int, int] = (3, 5), channels: int = 4, rank: int = 4) -> Graph:
    """A net on 10x17 images that answers with a map."""
    shape = (*map_size, channels)
    node = Node(
        name="n", op="elementwise", inputs=("x",), shape=shape, steps=(Step(op="store", value="y"),)
    )
    return Graph(
        nodes=(node,),
        values={
            "x": Value(name="x", kind="float", shape=(10, 17, channels)),
            "y": Value(name="y", kind="float", shape=shape),
        },
        tensors={},
        input="x",
        output="y",
        output_rank=rank,  # pyrefly: ignore[bad-argument-type]
    )


def test_heads_come_back_from_a_header() -> None:
    heads = heads_for(net(), {"segment": 3, "depth": 1})
    assert heads == Heads(channels={"segment": 3, "depth": 1}, stride=4)
    told = heads.as_meta()
    assert told == {
        "task": "segment-depth",
        "heads": [["segment", 3], ["depth", 1]],
        "output_stride": 4,
    }
    assert heads_of(replace(net(), meta=told)) == heads
    assert heads.part("segment") == slice(0, 3) and heads.part("depth") == slice(3, 4)
    assert heads.classes == 3 and heads_of(net()) is None


def test_depth_alone() -> None:
    heads = heads_for(net(channels=1), {"depth": 1})
    assert (heads.task, heads.classes, heads.part("depth")) == ("depth", 0, slice(0, 1))


@pytest.mark.parametrize(
    ("size", "stride"), [((10, 17), 1), ((5, 9), 2), ((3, 5), 4), ((2, 3), 8), ((1, 2), 16)]
)
def test_the_stride_follows_from_the_sizes(size: tuple[int, int], stride: int) -> None:
    assert heads_for(net(size), {"segment": 4}).stride == stride


@pytest.mark.parametrize(
    ("graph", "channels", "message"),
    [
        (net(), {}, "give the channels"),
        (net(), {"depth": 1, "segment": 3}, "in this order"),
        (net(channels=256), {"segment": 256}, "at most 255 classes"),
        (net(), {"segment": 3.0, "depth": 1}, "give the number of channels"),
        (net(), {"segment": "3", "depth": 1}, "give the number of channels"),
        (net(), "segment", "give the number of channels"),
        (net(), 4, "give the number of channels"),
        (net(), {"normals": 4}, "give the channels"),
        (net(), {"segment": 0, "depth": 1}, "give the channels"),
        (net(), {"segment": 2, "depth": 2}, "'depth' has 1 channel"),
        (net(), {"segment": 4, "depth": 1}, "answers with 4 channels;"),
        (net((1, 1), rank=2), {"segment": 4}, "4 channels and no map"),
        (net((3, 4)), {"segment": 4}, "map of 3x4 on images of 10x17"),
    ],
)
def test_heads_that_are_not_the_nets(graph: Graph, channels: dict, message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        heads_for(graph, channels)


@pytest.mark.parametrize(
    "told",
    [
        {"heads": 3},
        {"heads": [["segment", 3], ["depth", 1]]},
        {"heads": [["segment", 3]], "output_stride": 4},
        {"heads": [["segment", 4]], "output_stride": 2},
        {"heads": [["segment", 4]], "output_stride": [4]},
        {"heads": [["segment", "4"]], "output_stride": 4},
        {"heads": [["segment", 4]], "output_stride": 4.0},
        {"heads": [["segment", 4.0]], "output_stride": 4},
        {"heads": [["segment", 3], ["depth", True]], "output_stride": 4},
        {"heads": [["segment", 2], ["segment", 4]], "output_stride": 4},
        {"heads": [["depth", 1], ["segment", 3]], "output_stride": 4},
        {"heads": [["segment", 2], ["depth", 2]], "output_stride": 4},
        {"heads": [[["segment"], 4]], "output_stride": 4},
        {"heads": [], "output_stride": 4},
    ],
)
def test_headers_that_lie(told: dict) -> None:
    with pytest.raises(BitsFileError, match="heads: "):
        heads_of(replace(net(), meta=told))


def test_counts_of_numpy_and_torch_are_numbers() -> None:
    counts: Any = {"segment": np.int64(3), "depth": torch.tensor(1)}
    heads = heads_for(net(), counts)
    assert heads.channels == {"segment": 3, "depth": 1}
    assert all(type(count) is int for count in heads.channels.values())


def test_a_mask_holds_255_classes() -> None:
    graph = net(channels=255)
    told = heads_for(graph, {"segment": 255}).as_meta()
    assert heads_of(replace(graph, meta=told)) is not None
    lie = told | {"heads": [["segment", 256]]}
    with pytest.raises(BitsFileError, match="heads: "):
        heads_of(replace(net(channels=256), meta=lie))


def test_a_stride_of_true_is_none() -> None:
    told: dict[str, object] = {"heads": [["segment", 4]], "output_stride": True}
    with pytest.raises(BitsFileError, match="heads: "):
        heads_of(replace(net((10, 17)), meta=told))


def test_labels_name_the_classes_of_a_map() -> None:
    told = Heads(channels={"segment": 3, "depth": 1}, stride=4).as_meta()
    means = replace(
        net().nodes[0],
        op="avg_pool",
        window=Window(kernel=(4, 4), stride=(4, 4), pads=(0, 0, 2, 3)),
        attributes={"count": "inside"},
    )
    graph = replace(net(), nodes=(means,), meta=told)
    check(replace(graph, labels=("a", "b", "c")))
    with pytest.raises(BitsFileError, match="labels: 4 names for an answer of 3 channels"):
        check(replace(graph, labels=("a", "b", "c", "d")))
