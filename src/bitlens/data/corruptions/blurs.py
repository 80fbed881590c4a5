"""Blurs. Images are float64 `(n, c, h, w)` in [0, 1]; lengths are pixels of a side of 32."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitlens.data.corruptions.draws import Draws
from bitlens.data.corruptions.fields import bell, blur, disc, moved, pixels, streak

_STEPS = 9


def defocus_blur(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """The image of a lens out of focus: a disc of radius `strength` (its soft rim half a pixel more)."""
    return blur(images, disc(pixels(images, strength)))


def glass_blur(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Every pixel comes from up to `strength` away in each direction, between two light blurs."""
    light = bell(pixels(images, 0.3 + 0.15 * strength))
    way = pixels(images, strength) * (2 * draw.uniform(2, *images.shape[-2:]) - 1)
    return blur(moved(blur(images, light), way[:, 0], way[:, 1]), light)


def motion_blur(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Smeared along a straight way of length `strength`, each image in a direction of its own."""
    return blur(images, streak(pixels(images, strength), math.pi * draw.uniform()))


def zoom_blur(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Mean of nine views while zooming in evenly, the last enlarged by 1 + strength."""
    height, width = images.shape[-2:]
    row = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    column = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    total = torch.zeros_like(images)
    for step in range(_STEPS):
        nearer = 1 / (1 + strength * step / (_STEPS - 1)) - 1
        total += moved(images, nearer * row, nearer * column)
    return total / _STEPS
