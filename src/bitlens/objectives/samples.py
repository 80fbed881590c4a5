"""What one sample of a contrast is: a whole image, a region of its map, or a single location."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.models.layers import BinaryConv2d, BinaryLinear
from bitlens.objectives.anchors import AnchorDraw, Anchors
from bitlens.objectives.config import CMIMConfig
from bitlens.objectives.heads import pool_features


class Samples(ABC):
    """Turns the activations of a layer into rows of features, one a sample."""

    @abstractmethod
    def columns(self, layer: BinaryConv2d | BinaryLinear) -> int:
        """Features of each sample of `layer`."""

    @abstractmethod
    def choose(self, number: int, x: Tensor) -> Anchors | None:
        """Which samples of activations `x` of layer `number` to take; None for each image."""

    @abstractmethod
    def take(self, x: Tensor, anchors: Anchors | None) -> Tensor:
        """(samples, columns) features of the chosen samples of `x`."""


class ImageSamples(Samples):
    """One sample an image: its map averaged over a grid x grid division."""

    def __init__(self, grid: int) -> None:
        self.grid = grid

    def columns(self, layer: BinaryConv2d | BinaryLinear) -> int:
        """Channels times cells; the inputs of a linear layer."""
        if isinstance(layer, BinaryLinear):
            return layer.in_features
        return layer.in_channels * self.grid**2

    def choose(self, number: int, x: Tensor) -> Anchors | None:
        """Every image."""
        return None

    def take(self, x: Tensor, anchors: Anchors | None) -> Tensor:
        """(n, columns)."""
        return pool_features(x, self.grid)


class DenseSamples(Samples):
    """Places of the map as samples of their own; what has no map (n, c, h, w) is one place an image."""

    def __init__(self, draw: AnchorDraw) -> None:
        self.draw = draw

    def columns(self, layer: BinaryConv2d | BinaryLinear) -> int:
        """Channels, whatever the size of the map."""
        return layer.in_features if isinstance(layer, BinaryLinear) else layer.in_channels

    def choose(self, number: int, x: Tensor) -> Anchors | None:
        """At most as many places as the draw allows."""
        cells = self._cells(x) if x.dim() == 4 else 1
        return self.draw(number, len(x), cells, x.device)

    @abstractmethod
    def _cells(self, x: Tensor) -> int:
        """Places of one map."""


class RegionSamples(DenseSamples):
    """One sample for each cell of a grid x grid division of each map: its average.

    A side of the map shorter than the grid has as many cells as positions.
    """

    def __init__(self, draw: AnchorDraw, grid: int) -> None:
        super().__init__(draw)
        self.grid = grid

    def _division(self, x: Tensor) -> tuple[int, int]:
        return min(self.grid, x.shape[2]), min(self.grid, x.shape[3])

    def _cells(self, x: Tensor) -> int:
        rows, columns = self._division(x)
        return rows * columns

    def take(self, x: Tensor, anchors: Anchors | None) -> Tensor:
        """(k, channels)."""
        assert anchors is not None
        if x.dim() != 4 or min(self._division(x)) == self.grid:
            pooled = pool_features(x, self.grid)
        else:
            pooled = F.adaptive_avg_pool2d(x, self._division(x))
        rows = pooled.view(len(x), -1, anchors.cells).transpose(1, 2).flatten(0, 1)
        return rows if anchors.whole else rows.index_select(0, anchors.here)


class LocationSamples(DenseSamples):
    """One sample for each drawn location of the maps: its channels."""

    def _cells(self, x: Tensor) -> int:
        return x.shape[2] * x.shape[3]

    def take(self, x: Tensor, anchors: Anchors | None) -> Tensor:
        """(k, channels)."""
        assert anchors is not None
        if x.dim() == 4:
            return _Locations.apply(x, anchors.here)  # pyrefly: ignore[bad-return]
        rows = pool_features(x, 1)
        return rows if anchors.whole else rows.index_select(0, anchors.here)


class _Locations(torch.autograd.Function):
    """Channels at distinct locations of maps, at least in float32.

    The built-in backward adds up what may be duplicates, one by one, and in a memory layout of its
    own; locations are distinct and the gradient is laid out like the map it will be added to.
    """

    @staticmethod
    def forward(x: Tensor, where: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)[_axes(where, x.shape)]
        return rows.to(torch.promote_types(x.dtype, torch.float32))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        x, where = inputs
        ctx.save_for_backward(where)
        ctx.shape, ctx.dtype = x.shape, x.dtype
        rows_contiguous = x.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if rows_contiguous else torch.contiguous_format

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (where,) = ctx.saved_tensors
        full = torch.empty(
            ctx.shape, dtype=ctx.dtype, device=where.device, memory_format=ctx.layout
        ).zero_()
        full.permute(0, 2, 3, 1)[_axes(where, ctx.shape)] = grads[0].to(ctx.dtype)
        return full, None


def _axes(where: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
    """Image, row and column of flat numbers (image * height + row) * width + column."""
    height, width = shape[2:]
    line = torch.div(where, width, rounding_mode="floor")
    image = torch.div(line, height, rounding_mode="floor")
    return image, line - image * height, where - line * width


def samples_of(config: CMIMConfig, draw: AnchorDraw | None) -> Samples:
    """The kind of samples that `config.pairs` names; all but images need a draw."""
    if draw is None:
        return ImageSamples(config.pool)
    if config.pairs == "region":
        return RegionSamples(draw, config.pool)
    return LocationSamples(draw)
