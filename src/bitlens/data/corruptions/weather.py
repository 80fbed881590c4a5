"""Weather in front of the scene, drawn, not photographed. Images are float64 `(n, c, h, w)` in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitlens.data.corruptions.draws import Draws
from bitlens.data.corruptions.fields import blur, clouds, pixels, smooth, streak

_ICE = (0.84, 0.92, 1.0)
_FALL = 3.0


def snow(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Falling flakes over about a share `strength` of the image, and a veil of half that whiteness.

    Flakes are the highest places of a field of noise with a cell a pixel of a side of 32, smeared along
    the way they fall, which leans up to 30 degrees. Both layers are screened over the image:
    1 - (1 - image) (1 - flakes) (1 - veil).
    """
    height, width = images.shape[-2:]
    cells = [min(size, round(size / pixels(images, 1))) for size in (height, width)]
    field = smooth(draw.uniform(1, *cells), height, width)
    lean = math.pi / 2 + math.pi / 6 * (2 * draw.uniform() - 1)
    peaks = ((field - (1 - strength)) / 0.1).clamp(0, 1)
    flakes = (1.6 * blur(peaks, streak(pixels(images, _FALL), lean))).clamp(0, 1)
    return 1 - (1 - images) * (1 - flakes) * (1 - strength / 2)


def frost(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Ice that grows from the edges along the ridges of a cloud; opaque at most to `strength`."""
    channels, height, width = images.shape[1:]
    ridges = 1 - (2 * clouds(draw, height, width) - 1).abs()
    inward = torch.minimum(_from_edge(height)[:, None], _from_edge(width))
    cover = (1.1 - inward) * (0.35 + 0.65 * ridges.square())
    color = torch.tensor(_ICE if channels == 3 else (0.92,), dtype=torch.float64)[:, None, None]
    opaque = strength * cover.clamp(0, 1)
    return images * (1 - opaque) + opaque * color * (0.8 + 0.2 * ridges)


def fog(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Bright clouds of weight `strength` mixed with the image of weight 1."""
    bright = 0.5 + 0.5 * clouds(draw, *images.shape[-2:])
    return (images + strength * bright) / (1 + strength)


def _from_edge(size: int) -> Tensor:
    """0 at both ends of an axis, 1 in its middle, `(size,)`."""
    place = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return 2 * torch.minimum(place, 1 - place)
