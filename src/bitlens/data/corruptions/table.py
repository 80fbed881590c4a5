"""The fifteen corruptions with their strengths, and `corrupt`, which applies one to uint8 images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from bitlens.data.corruptions import blurs, digital, noise, weather
from bitlens.data.corruptions.draws import Draws
from bitlens.errors import BitlensError, unknown

VERSION = 1
"""Changes with anything that changes a pixel, so that stored accuracies say what they belong to."""

SEVERITIES = (1, 2, 3, 4, 5)

Function = Callable[[Tensor, float, Draws], Tensor]
"""Takes float64 images `(n, c, h, w)` in [0, 1], a strength and draws; may leave [0, 1]."""

_CHUNK = 256
# Values this close are one value: sums in another order must not round to another byte.
_TIE = 2.0**20


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A family of the paper's, a function, and its strength at severities 1 to 5."""

    family: str
    function: Function
    strengths: tuple[float, float, float, float, float]


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "gaussian-noise": Corruption(
            family="noise",
            function=noise.gaussian_noise,
            strengths=(0.04, 0.07, 0.10, 0.14, 0.19),
        ),
        "shot-noise": Corruption(
            family="noise", function=noise.shot_noise, strengths=(0.06, 0.09, 0.13, 0.18, 0.24)
        ),
        "impulse-noise": Corruption(
            family="noise",
            function=noise.impulse_noise,
            strengths=(0.01, 0.03, 0.06, 0.11, 0.18),
        ),
        "defocus-blur": Corruption(
            family="blur", function=blurs.defocus_blur, strengths=(0.8, 1.1, 1.5, 2.0, 2.7)
        ),
        "glass-blur": Corruption(
            family="blur", function=blurs.glass_blur, strengths=(0.5, 0.9, 1.3, 1.8, 2.5)
        ),
        "motion-blur": Corruption(
            family="blur", function=blurs.motion_blur, strengths=(1.5, 2.5, 3.8, 5.5, 7.5)
        ),
        "zoom-blur": Corruption(
            family="blur", function=blurs.zoom_blur, strengths=(0.08, 0.15, 0.23, 0.33, 0.45)
        ),
        "snow": Corruption(
            family="weather", function=weather.snow, strengths=(0.05, 0.08, 0.11, 0.15, 0.20)
        ),
        "frost": Corruption(
            family="weather", function=weather.frost, strengths=(0.35, 0.5, 0.65, 0.8, 1.0)
        ),
        "fog": Corruption(
            family="weather", function=weather.fog, strengths=(0.3, 0.6, 1.0, 1.6, 2.4)
        ),
        "brightness": Corruption(
            family="digital",
            function=digital.brightness,
            strengths=(0.06, 0.12, 0.19, 0.27, 0.36),
        ),
        "contrast": Corruption(
            family="digital",
            function=digital.contrast,
            strengths=(0.25, 0.42, 0.57, 0.70, 0.82),
        ),
        "elastic-transform": Corruption(
            family="digital",
            function=digital.elastic_transform,
            strengths=(0.4, 0.7, 1.0, 1.4, 1.9),
        ),
        "pixelate": Corruption(
            family="digital", function=digital.pixelate, strengths=(1.3, 1.7, 2.2, 3.0, 4.0)
        ),
        "jpeg-compression": Corruption(
            family="digital",
            function=digital.jpeg_compression,
            strengths=(35.0, 52.0, 66.0, 77.0, 85.0),
        ),
    }
)


def corrupt(images: Tensor, name: str, severity: int, *, seed: int = 0, first: int = 0) -> Tensor:
    """Corrupt every image; the same image at the same position comes out the same in any batch.

    Args:
        images: uint8 `(n, c, h, w)`, any device.
        name: a key of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: of the random draws, which the severities share.
        first: position of the first image in its set.

    Returns:
        uint8 `(n, c, h, w)` on the same device.

    Raises:
        BitlensError: an unknown corruption, or another severity.
    """
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise BitlensError(f"severity={severity!r} of {name}; give 1, 2, 3, 4 or 5")
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images must be uint8 (n, c, h, w), got {images.dtype}, {images.shape}")
    corruption = CORRUPTIONS[name]
    strength = corruption.strengths[severity - 1]
    done = torch.empty_like(images, device="cpu")
    for start in range(0, len(images), _CHUNK):
        clean = images[start : start + _CHUNK].cpu()
        draw = Draws(seed, name, first + start, len(clean))
        done[start : start + _CHUNK] = _bytes(
            corruption.function(clean.double() / 255, strength, draw)
        )
    return done.to(images.device)


def _bytes(values: Tensor) -> Tensor:
    """From [0, 1] to the nearest byte, what lies outside clamped."""
    settled = (values * (255 * _TIE)).round() / _TIE
    return settled.round().clamp(0, 255).to(torch.uint8)
