"""Nets that nobody would write, drawn at random: all of a packed net's signs are still torch's."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens import binarize
from bitlens.engine.file.validate import check
from bitlens.engine.freeze.capture import capture
from bitlens.engine.freeze.lower import lower
from bitlens.engine.freeze.pixels import normalised
from bitlens.engine.freeze.verify import verify
from bitlens.engine.reference import run as reference
from bitlens.methods import METHODS, get

MEAN, STD, SIDE = (0.45, 0.5, 0.4), (0.25, 0.2, 0.3), 12
KINDS = ("layer", "layer", "layer", "norm", "norm", "act", "act", "join", "join", "pool")
KINDS = (*KINDS, "cat", "pad", "cut", "scale", "gate")

ANYWHERE = [name for name in METHODS if get(name).deploy == "static" and name != "complex"]
"""Methods that are packed and serve any number of channels and groups."""


class RandomNet(nn.Module):
    """A graph grown operation by operation, each reading one of the last four values."""

    def __init__(self, seed: int, length: int = 14) -> None:
        super().__init__()
        self.draw = random.Random(seed)
        torch.manual_seed(seed)
        self.layers = nn.ModuleList()
        self.plan: list[tuple[str, int, Any]] = []
        values = [torch.zeros(2, 3, SIDE, SIDE)]
        while len(self.plan) < length:
            step = self._step(values)
            if step is not None:
                self.plan.append(step)
                values.append(self._apply(step, values))
        self.head = nn.Linear(values[-1].shape[1], 3)

    def _add(self, layer: nn.Module) -> int:
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor)
            nn.init.zeros_(layer.weight[:1])
        self.layers.append(layer.eval())
        return len(self.layers) - 1

    def _step(self, values: list[Tensor]) -> tuple[str, int, Any] | None:
        draw, kind = self.draw, self.draw.choice(KINDS)
        place = draw.randrange(max(0, len(values) - 4), len(values))
        _, c, h, w = values[place].shape
        if kind in ("pool", "cut") and min(h, w) < 4:
            return None
        match kind:
            case "layer":
                return kind, place, self._add(self._conv(c, min(h, w)))
            case "norm":
                return kind, place, self._add(nn.BatchNorm2d(c))
            case "act":
                acts = (nn.ReLU(), nn.Hardtanh(), nn.PReLU(c), nn.LeakyReLU(0.2), nn.SiLU())
                return kind, place, self._add(draw.choice(acts))
            case "pool":
                pools = (
                    nn.MaxPool2d(3, 2, 1, ceil_mode=True),
                    nn.AvgPool2d(2, ceil_mode=True),
                    nn.AvgPool2d(3, 2, 1, count_include_pad=draw.random() < 0.5),
                )
                return kind, place, self._add(draw.choice(pools))
            case "join":
                same = [i for i, v in enumerate(values) if v.shape == values[place].shape]
                return draw.choice(("add", "sub", "mul")), place, draw.choice(same)
            case "cat":
                same = [i for i, v in enumerate(values) if v.shape[2:] == (h, w)]
                other = draw.choice(same)
                return (kind, place, other) if values[other].shape[1] + c <= 24 else None
            case "pad":
                return kind, place, [draw.randrange(2) for _ in range(4)] + [draw.randrange(3), 0]
            case "cut":
                return (
                    kind,
                    place,
                    (draw.randrange((c + 1) // 2), draw.randrange(2), draw.choice((1, 2))),
                )
            case "scale":
                return kind, place, (draw.choice((0.5, -1.5, 3.0)), draw.choice((0.1, -0.7)))
            case _:
                return kind, place, self._add(nn.Conv2d(c, c, 1))

    def _conv(self, c: int, side: int) -> nn.Conv2d:
        draw = self.draw
        groups = 2 if c % 2 == 0 and draw.random() < 0.3 else 1
        o = draw.choice((c, 4, 6, 10)) if groups == 1 else c
        kernel = draw.choice(((1, 1), (3, 3), (3, 2))) if side > 3 else (1, 1)
        pads = tuple(draw.randrange(2) if k > 1 else 0 for k in kernel)
        mode = draw.choice(("zeros", "zeros", "reflect", "circular"))
        stride = draw.choice((1, 1, 2))
        bias = draw.random() < 0.5
        return nn.Conv2d(c, o, kernel, stride, pads, 1, groups, bias, mode)

    def _apply(self, step: tuple[str, int, Any], values: list[Tensor]) -> Tensor:
        kind, place, other = step
        x = values[place]
        match kind:
            case "add":
                return x + values[other]
            case "sub":
                return x - values[other]
            case "mul":
                return x * values[other]
            case "cat":
                return torch.cat([x, values[other]], 1)
            case "pad":
                return F.pad(x, other)
            case "cut":
                channel, row, step_over = other
                return x[:, channel:, row:, ::step_over]
            case "scale":
                return (x - other[1]) * other[0]
            case "gate":
                return x * torch.sigmoid(self.layers[other](x.mean((2, 3), keepdim=True)))
        return self.layers[other](x)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.plan:
            values.append(self._apply(step, values))
        return self.head(values[-1].mean((2, 3)))


@pytest.mark.parametrize("seed", range(12))
def test_every_sign_of_a_random_net_is_torchs(seed: int) -> None:
    draw = random.Random(seed)
    net = RandomNet(seed).eval()
    method = draw.choice(ANYWHERE)
    net = binarize(
        net, method, keep_float=draw.choice((None, ("head",))), pad=draw.choice((None, 0, 1, -1))
    )
    pixels = np.random.default_rng(seed).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    x = normalised(pixels, MEAN, STD)
    captured = capture(net, x)
    settings: dict[str, Any] = {"mean": MEAN, "std": STD} if draw.random() < 0.5 else {}
    found = lower(captured, [x], float32=draw.random() < 0.4, **settings)
    check(found.graph)
    check(found.probed)
    compared = verify(
        net,
        captured,
        found,
        x,
        partial(reference.run, found.probed),
        lambda rows: reference.run(found.graph, rows)[found.graph.output],
    )
    assert compared.differing == 0
