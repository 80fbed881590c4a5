"""Noise of every pixel for itself. Images are float64 `(n, c, h, w)` in [0, 1]."""

from __future__ import annotations

from torch import Tensor

from bitlens.data.corruptions.draws import Draws


def gaussian_noise(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Normal noise of deviation `strength` on every value."""
    return images + strength * draw.normal(*images.shape[1:])


def shot_noise(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Poisson counts of light, 1 / strength**2 of them at white: deviation `strength` there."""
    photons = 1 / strength**2
    return draw.poisson(images * photons) / photons


def impulse_noise(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """A share `strength` of the values becomes 0 or 1, as often the one as the other."""
    chance, side = draw.uniform(2, *images.shape[1:]).unbind(1)
    hit = chance < strength
    return images.where(~hit, (side < 0.5).double())
