"""Pooling and embedding: activations of a layer -> points on the unit sphere."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError


class _GlobalAverage(torch.autograd.Function):
    """Mean over positions, at least in float32, whose gradient stays a broadcast view.

    The built-in backward writes out a full map per call, in another memory layout than the rest of
    the net; that alone cost a tenth of a training step.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.shape, ctx.dtype = inputs[0].shape, inputs[0].dtype

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        n, c, h, w = ctx.shape
        return (grads[0] / (h * w)).to(ctx.dtype).view(n, c, 1, 1).expand(ctx.shape)


class _CellAverage(torch.autograd.Function):
    """Mean over the cells of a grid x grid division of a channels-last map, for the same reason.

    Rows are contiguous, so the sums and the copies of the gradient run over whole rows first.
    """

    @staticmethod
    def forward(x: Tensor, grid: int) -> Tensor:
        n, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(n * grid, h // grid, w * c).mean(1)
        cells = rows.view(n, grid, grid, w // grid, c).mean(3)
        return cells.permute(0, 3, 1, 2).reshape(n, c * grid**2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.shape, ctx.grid = inputs[0].shape, inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (n, c, h, w), grid = ctx.shape, ctx.grid
        share = grads[0].view(n, c, grid, grid).permute(0, 2, 3, 1) * (grid**2 / (h * w))
        rows = share[:, :, :, None].expand(n, grid, grid, w // grid, c).reshape(n, grid, 1, w * c)
        full = rows.expand(n, grid, h // grid, w * c).reshape(n, h, w, c)
        return full.permute(0, 3, 1, 2), None


def pool_features(x: Tensor, grid: int) -> Tensor:
    """Activations -> features, by averaging over positions.

    Args:
        x: maps (n, c, h, w), vectors at several positions (n, ..., c), or (n, c).
        grid: maps give (n, c grid^2), an average over each cell of a grid x grid division;
            everything else gives (n, c).

    Raises:
        BitlensError: the map is smaller than the grid.
    """
    if x.dim() != 4:
        return x if x.dim() == 2 else x.flatten(1, -2).mean(1)
    if grid == 1:
        return _GlobalAverage.apply(x)  # pyrefly: ignore[bad-return]
    height, width = x.shape[2:]
    if min(height, width) < grid:
        raise BitlensError(f"cmim: pool={grid} on a {height}x{width} map; use a smaller grid")
    rows_contiguous = x.is_contiguous(memory_format=torch.channels_last)
    if rows_contiguous and height % grid == 0 and width % grid == 0:
        return _CellAverage.apply(x, grid)  # pyrefly: ignore[bad-return]
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
        """Embed, in the precision of the head's weights whatever the net uses."""
        weight = next(self.parameters())
        return F.normalize(self.project(x.to(weight.dtype)), dim=1)
