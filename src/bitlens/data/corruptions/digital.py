"""Light, contrast, shape and storage. Images are float64 `(n, c, h, w)` in [0, 1]."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bitlens.data.corruptions.draws import Draws
from bitlens.data.corruptions.fields import moved, pixels, smooth

_CELLS = 7


def brightness(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """All values raised by `strength`."""
    return images + strength


def contrast(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """A share `strength` of the way from each image to its own mean color."""
    return images + strength * (images.mean((2, 3), keepdim=True) - images)


def elastic_transform(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Pixels moved by smooth random fields of deviation `strength` pixels at a side of 32, bicubic
    between 7 by 7 places."""
    height, width = images.shape[-2:]
    field = smooth(draw.normal(2, _CELLS, _CELLS), height, width) * pixels(images, strength)
    return moved(images, field[:, 0], field[:, 1])


def pixelate(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Averaged down to a side of 1 / strength of its own, and enlarged without smoothing."""
    height, width = images.shape[-2:]
    coarse = max(1, round(height / strength)), max(1, round(width / strength))
    means = F.adaptive_avg_pool2d(images, coarse)
    return F.interpolate(means, (height, width), mode="nearest-exact")


def jpeg_compression(images: Tensor, strength: float, draw: Draws) -> Tensor:
    """Stored as JPEG of quality 100 - strength and read again; anything but RGB channel by channel."""
    stored = (images * 255).round().to(torch.uint8)
    grey = stored.shape[1] != 3
    # A picture is (h, w) for one shade and (h, w, 3) for color.
    pictures = stored.flatten(0, 1) if grey else stored.permute(0, 2, 3, 1)
    read = [_through_jpeg(picture, round(100 - strength)) for picture in pictures.numpy()]
    if not read:
        return images
    values = torch.from_numpy(np.stack(read)).double() / 255
    return values.view(images.shape) if grey else values.permute(0, 3, 1, 2).contiguous()


def _through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=quality)
    with Image.open(file) as stored:
        return np.asarray(stored)
