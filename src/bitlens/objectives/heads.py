"""Pooling and embedding: activations of a layer -> points on the unit sphere."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError


class _GlobalAverage(torch.autograd.Function):
    """Mean over positions whose gradient stays a broadcast view.

    The built-in backward writes out a full map per call, in another memory layout than the rest of
    the net; that alone cost a tenth of a training step.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.shape = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        n, c, h, w = ctx.shape
        return (grads[0] / (h * w)).view(n, c, 1, 1).expand(ctx.shape)


def pool_features(x: Tensor, grid: int) -> Tensor:
    """Activations (n, c, h, w) or (n, c) -> features (n, c grid^2) or (n, c), by averaging.

    Raises:
        BitlensError: the map is smaller than the grid.
    """
    if x.dim() == 2:
        return x
    if x.dim() != 4:
        raise BitlensError(
            f"cmim: cannot pool activations of shape {tuple(x.shape)}; (n, c) or (n, c, h, w) expected"
        )
    if grid == 1:
        return _GlobalAverage.apply(x)  # pyrefly: ignore[bad-return]
    if min(x.shape[2:]) < grid:
        raise BitlensError(
            f"cmim: pool={grid} on a {x.shape[2]}x{x.shape[3]} map; use a smaller grid"
        )
    return F.adaptive_avg_pool2d(x, grid).flatten(1)


class Head(nn.Module):
    """Features (n, k) -> unit vectors (n, width)."""

    def __init__(self, features: int, width: int, kind: str) -> None:
        super().__init__()
        if kind == "mlp":
            self.project: nn.Module = nn.Sequential(
                nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width)
            )
        else:
            self.project = nn.Linear(features, width)

    def forward(self, x: Tensor) -> Tensor:
        """Embed, with the head's own precision, whatever autocast or the net use."""
        weight = next(self.parameters())
        return F.normalize(self.project(x.to(weight.dtype)), dim=1)
