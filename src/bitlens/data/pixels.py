"""From an image file to the uint8 pixels a net was trained on; Pillow and numpy only.

What `decode` does for data sets, without torch and the libraries that read tables, so that a single
picture can be answered at once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bitlens.errors import BitlensError

GREY = {"1", "L", "LA", "La"}
"""Modes of Pillow that hold one shade."""

DEEP = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
"""Modes of Pillow with more than 8 bits per channel."""


def read_picture(path: Path, *, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """One image file as a net takes it.

    Turned upright as its camera says, alpha dropped, grey made color or color grey as the net wants it,
    scaled until it covers the net's size (bilinear, antialiased) and cropped in the middle.

    Args:
        path: an image file that Pillow can read.
        height, width: of the net's images, in pixels.
        channels: 1 for grey, 3 for color.

    Returns:
        uint8 (channels, height, width).

    Raises:
        BitlensError: the file cannot be read or holds no image of 8 bits per channel; it is named.
    """
    try:
        with path.open("rb") as file, Image.open(file) as stored:
            image = plain(stored)
    except OSError as error:
        # Pillow tells damage as an OSError without a system's reason.
        raise BitlensError(f"{path}: {error.strerror or 'the image cannot be read'}") from error
    except Exception as why:  # each codec of Pillow raises errors of its own
        raise BitlensError(f"{path}: the image cannot be read: {why}") from why
    if image.mode == "RGB" and channels == 1:
        image = image.convert("L")
    pixels = np.asarray(fit(image, width, height))
    if pixels.ndim == 2:
        return np.repeat(pixels[None], channels, axis=0)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def plain(image: Image.Image) -> Image.Image:
    """An image in mode L where it was stored grey, else RGB; upright, without alpha.

    Raises:
        ValueError: more than 8 bits per channel.
        Exception: whatever the image codec raises on a damaged file.
    """
    image.load()
    if image.mode in DEEP:
        raise ValueError(f"more than 8 bits per channel (mode {image.mode})")
    image = ImageOps.exif_transpose(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("L" if image.mode in GREY else "RGB")


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale until the image just covers `width` x `height` (bilinear, antialiased), crop the middle."""
    own_width, own_height = image.size
    if (own_width, own_height) == (width, height):
        return image
    if width * own_height >= height * own_width:
        scaled = (width, round(own_height * width / own_width))
    else:
        scaled = (round(own_width * height / own_height), height)
    image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
    return image.crop((left, top, left + width, top + height))
