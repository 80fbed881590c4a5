"""What several corruptions are made of: blurs by a kernel, moved pixels, clouds. All float64."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.data.corruptions.draws import Draws

REFERENCE = 32
"""Side in pixels for which lengths are given; they grow with the shorter side of the image."""


def pixels(images: Tensor, length: float) -> float:
    """A length at 32 pixels, in pixels of these images `(n, c, h, w)`."""
    return length * min(images.shape[-2:]) / REFERENCE


def blur(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with a kernel of odd side, edge pixels repeated outwards.

    Args:
        images: `(n, c, h, w)`.
        kernel: `(1 or n, 1, k, k)`, normalised to sum 1 here.
    """
    side, (height, width) = kernel.shape[-1], images.shape[-2:]
    margin = side // 2
    padded = F.pad(images, (margin,) * 4, mode="replicate")
    size = (padded.shape[-2] + side - 1, padded.shape[-1] + side - 1)
    kernel = kernel / kernel.sum((-2, -1), keepdim=True)
    spectrum = torch.fft.rfft2(padded, size) * torch.fft.rfft2(kernel, size)
    whole = torch.fft.irfft2(spectrum, size)
    return whole[..., 2 * margin : 2 * margin + height, 2 * margin : 2 * margin + width]


def grid(margin: int) -> tuple[Tensor, Tensor]:
    """Rows and columns `(k, k)` of a kernel, 0 in its middle, k = 2 margin + 1."""
    axis = torch.arange(-margin, margin + 1, dtype=torch.float64)
    return axis[:, None].expand(-1, len(axis)), axis[None, :].expand(len(axis), -1)


def disc(radius: float) -> Tensor:
    """Kernel `(1, 1, k, k)` of a disc with soft rim; the identity up to a radius of half a pixel."""
    row, column = grid(math.ceil(radius + 0.5))
    return (radius + 0.5 - (row.square() + column.square()).sqrt()).clamp(0, 1)[None, None]


def bell(sigma: float) -> Tensor:
    """Gaussian kernel `(1, 1, k, k)`, cut at three deviations."""
    row, column = grid(max(1, math.ceil(3 * sigma)))
    return torch.exp(-(row.square() + column.square()) / (2 * sigma**2))[None, None]


def streak(length: float, angle: Tensor) -> Tensor:
    """Kernels `(n, 1, k, k)` of a segment through the middle, one pixel wide with soft sides.

    Args:
        length: in pixels, the same for all.
        angle: `(n,)` in radians from the horizontal.
    """
    row, column = grid(math.ceil(length / 2) + 1)
    cosine, sine = (part[:, None, None] for part in (angle.cos(), angle.sin()))
    along, across = column * cosine + row * sine, row * cosine - column * sine
    beyond = (along.abs() - length / 2).clamp(min=0)
    return (1 - (beyond.square() + across.square()).sqrt()).clamp(min=0)[:, None]


def moved(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each pixel taken from `down` rows below and `right` columns beside it, bilinear, edges repeated.

    Args:
        images: `(n, c, h, w)`.
        down: pixels, broadcastable to `(n, h, w)`.
        right: pixels, broadcastable to `(n, h, w)`.
    """
    n, _, height, width = images.shape
    row = torch.arange(height, dtype=torch.float64)[:, None] + down
    column = torch.arange(width, dtype=torch.float64) + right
    places = [(2 * column + 1) / width - 1, (2 * row + 1) / height - 1]
    where = torch.stack([place.expand(n, height, width) for place in places], dim=-1)
    return F.grid_sample(images, where, mode="bilinear", padding_mode="border", align_corners=False)


def clouds(draw: Draws, height: int, width: int) -> Tensor:
    """Value noise `(n, 1, h, w)` over all octaves, half the height at half the length, in [0, 1]."""
    layers, cells, weight = [], 2, 1.0
    while cells <= max(height, width):
        layers.append(weight * smooth(draw.uniform(1, cells, cells), height, width))
        cells, weight = 2 * cells, weight / 2
    total = torch.stack(layers).sum(0) if layers else draw.uniform(1, height, width)
    low, high = total.amin((2, 3), keepdim=True), total.amax((2, 3), keepdim=True)
    return (total - low) / (high - low).clamp(min=1e-12)


def smooth(coarse: Tensor, height: int, width: int) -> Tensor:
    """Enlarge `(n, c, a, b)` to `(n, c, height, width)`, bicubic, corners on corners."""
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
