"""Nodes that move values, against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bitlens.data.normalize import normalize
from bitlens.engine.graph import Graph, Node, Step, Value
from bitlens.engine.run.session import Session
from bitlens.errors import BitlensError

C, H, W = 19, 5, 7


def images(channels: int = C, height: int = H, width: int = W) -> Tensor:
    return torch.randn((2, channels, height, width), generator=torch.Generator().manual_seed(1))


def one_node(op: Any, x: Tensor, shape: tuple[int, ...], **attributes: object) -> Tensor:
    """What a net of this node alone answers; `shape` is torch's (c, h, w)."""
    c, h, w = x.shape[1:]
    out = (shape[1], shape[2], shape[0])
    node = Node(name="node", op=op, inputs=("x",), shape=out, output="y", attributes=attributes)
    graph = Graph(
        nodes=(node,),
        values={
            "x": Value(name="x", kind="float", shape=(h, w, c)),
            "y": Value(name="y", kind="float", shape=out),
        },
        tensors={},
        input="x",
        output="y",
        output_rank=4,
    )
    return Session(graph)(x)


@pytest.mark.parametrize("pads", [(1, 2, 3, 4), (0, 0, 0, 1), (4, 4, 4, 4)])
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding(mode: str, pads: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = pads
    wanted = F.pad(images(), (left, right, top, bottom), mode=mode)
    found = one_node("pad", images(), wanted.shape[1:], pads=pads, mode=mode)
    assert torch.equal(found, wanted)


def test_padding_of_channels() -> None:
    wanted = F.pad(images(), (1, 0, 0, 2, 3, 4), value=-1.5)
    found = one_node(
        "pad", images(), wanted.shape[1:], pads=(0, 1, 2, 0), channels=(3, 4), value=-1.5
    )
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("size", [(5, 7), (10, 14), (9, 3), (1, 20), (13, 1)])
@pytest.mark.parametrize(
    ("mode", "corners"), [("nearest", None), ("bilinear", False), ("bilinear", True)]
)
def test_resizing_to_a_size(mode: str, corners: bool | None, size: tuple[int, int]) -> None:
    wanted = F.interpolate(images(), size, mode=mode, align_corners=corners)
    found = one_node("resize", images(), wanted.shape[1:], mode=mode, align_corners=corners)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [(2.0, 2.0), (1.7, 0.6), (0.5, 3.3)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resizing_by_a_factor(mode: str, scale: tuple[float, float]) -> None:
    wanted = F.interpolate(images(), scale_factor=scale, mode=mode)
    found = one_node(
        "resize", images(), wanted.shape[1:], mode=mode, align_corners=False, scale=scale
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_flattening() -> None:
    wanted = images().flatten(1)
    found = one_node("flatten", images(), (wanted.shape[1], 1, 1))
    assert torch.equal(found[:, :, 0, 0], wanted)


def test_slicing() -> None:
    wanted = images()[:, 2:17:3, 1:5, 0:7:2]
    parts = {"rows": (1, 5, 1), "columns": (0, 7, 2), "channels": (2, 17, 3)}
    assert torch.equal(one_node("slice", images(), wanted.shape[1:], **parts), wanted)
    wanted = images()[:, :, :, 3:]
    parts = {"rows": None, "columns": (3, 7, 1), "channels": None}
    assert torch.equal(one_node("slice", images(), wanted.shape[1:], **parts), wanted)


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("sigmoid", torch.sigmoid, {}),
        ("tanh", torch.tanh, {}),
        ("silu", F.silu, {}),
        ("gelu", F.gelu, {}),
        ("gelu", lambda x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"}),
        ("hardswish", F.hardswish, {}),
        ("hardsigmoid", F.hardsigmoid, {}),
        ("elu", F.elu, {}),
        ("elu", lambda x: F.elu(x, alpha=0.3), {"alpha": 0.3}),
        ("exp", torch.exp, {}),
        ("abs", torch.abs, {}),
        ("sqrt", lambda x: torch.sqrt(x.abs()), {}),
    ],
)
def test_functions(name: str, function: Any, options: dict[str, object]) -> None:
    x = 4 * images() if name != "sqrt" else images().abs()
    found = one_node("unary", x, x.shape[1:], function=name, **options)
    torch.testing.assert_close(found, function(x), rtol=2e-6, atol=2e-6)


def test_large_numbers_do_not_overflow() -> None:
    x = torch.tensor([-1e4, -90.0, 90.0, 1e4]).reshape(1, 1, 2, 2)
    for name, function in (("sigmoid", torch.sigmoid), ("silu", F.silu), ("tanh", torch.tanh)):
        found = one_node("unary", x, x.shape[1:], function=name)
        torch.testing.assert_close(found, function(x), rtol=1e-5, atol=1e-30)


def test_unknown_functions_are_named() -> None:
    with pytest.raises(BitlensError, match=r"unknown function of a unary node 'sigmid'.*sigmoid"):
        one_node("unary", images(), (C, H, W), function="sigmid")


@pytest.mark.parametrize("channels", [1, 3, 4, 16, 17])
def test_bytes_are_normalised_to_the_last_bit(channels: int) -> None:
    """In both layouts, for every byte."""
    random = np.random.default_rng(channels)
    mean, std = random.uniform(0.1, 0.9, channels), random.uniform(0.1, 0.4, channels)
    raw = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(channels, axis=1)
    shape = (16, 16, channels)
    node = Node(
        name="copy",
        op="elementwise",
        inputs=("x",),
        shape=shape,
        steps=(Step(op="store", value="y"),),
    )
    graph = Graph(
        nodes=(node,),
        values={name: Value(name=name, kind="float", shape=shape) for name in ("x", "y")},
        tensors={},
        input="x",
        output="y",
        output_rank=4,
        mean=tuple(mean),
        std=tuple(std),
    )
    wanted = normalize(torch.from_numpy(raw), mean.tolist(), std.tolist())
    assert torch.equal(torch.from_numpy(Session(graph)(raw)), wanted)
    assert np.array_equal(Session(graph)(raw.transpose(0, 2, 3, 1), layout="nhwc"), wanted.numpy())
