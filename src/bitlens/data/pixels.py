"""From an image file to the uint8 pixels a net was trained on; Pillow and numpy only.

What `decode` does for data sets, without torch and the libraries that read tables, so that a single
picture can be answered at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from bitlens.errors import BitlensError

GREY = {"1", "L", "LA", "La"}
"""Modes of Pillow that hold one shade."""

DEEP = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
"""Modes of Pillow with more than 8 bits per channel."""

EXTREME = 16
"""How many times longer than the net's a picture's shape may be before its middle is cut out first."""


def read_picture(path: Path, *, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """One image file as a net takes it.

    Turned upright as its camera says, alpha dropped, grey made color or color grey as the net wants it,
    scaled until it covers the net's size (bilinear, antialiased) and cropped in the middle. Files of 16 bits
    per channel, grey or color, are refused: data sets hold 8, and how to bring one to the other is open.

    Args:
        path: an image file that Pillow can read.
        height, width: of the net's images, in pixels.
        channels: 1 for grey, 3 for color.

    Returns:
        uint8 (channels, height, width).

    Raises:
        BitlensError: the file cannot be read or holds no image of 8 bits per channel; it is named.
    """
    image = _read(path, channels, lambda image: fit(image, width, height))
    return _planes(image, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Framed:
    """A whole picture in a net's frame.

    Attributes:
        pixels: uint8 (channels, height, width) as the net takes them; the picture is at the upper left.
        inside: height and width of the picture in the frame, in pixels.
        picture: the picture at its own size, mode L or RGB.
    """

    pixels: npt.NDArray[np.uint8]
    inside: tuple[int, int]
    picture: Image.Image


def read_framed(path: Path, *, height: int, width: int, channels: int) -> Framed:
    """One image file as a net takes it whose answer is a map of the whole picture.

    Read as by `read_picture`, but nothing is cropped and the aspect is kept: the picture is scaled until it
    just fits into the net's size (bilinear, antialiased) and stands at the upper left, and what is left at
    the right or at the bottom repeats its last column or row, as dense nets pad their images. A picture of
    the net's size is not changed.

    Args:
        path: an image file that Pillow can read.
        height, width: of the net's images, in pixels.
        channels: 1 for grey, 3 for color.

    Raises:
        BitlensError: as from `read_picture`, or a picture so long that its other side would vanish.
    """
    picture = _read(path, channels, lambda image: image)
    inside = fitting((picture.height, picture.width), (height, width))
    if min(inside) < 1:
        raise BitlensError(
            f"{path}: {picture.width}x{picture.height} pixels leave no row or column of the picture at the "
            f"net's {width}x{height}; cut the picture into parts"
        )
    scaled = picture
    if picture.size != (inside[1], inside[0]):
        scaled = picture.resize((inside[1], inside[0]), Image.Resampling.BILINEAR)
    missing = ((0, 0), (0, height - inside[0]), (0, width - inside[1]))
    pixels = np.pad(_planes(scaled, channels), missing, mode="edge")
    return Framed(pixels=np.ascontiguousarray(pixels), inside=inside, picture=picture)


def fitting(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """The largest height and width of the aspect of `size` that fit into `frame`, in pixels."""
    scale = min(frame[0] / size[0], frame[1] / size[1])
    return round(size[0] * scale), round(size[1] * scale)


def _read(path: Path, channels: int, place: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The image of a file, grey where the net wants it, as `place` lays it out."""
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            # Large pictures are told by a warning, and by an error from twice that size on.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as stored:
                _refuse_deep(stored)
                image = plain(stored)
            if image.mode == "RGB" and channels == 1:
                image = image.convert("L")
            return place(image)
    except OSError as error:
        raise BitlensError(f"{path}: {error.strerror or reason(error)}") from error
    except Exception as why:  # each codec of Pillow raises errors of its own
        raise BitlensError(f"{path}: {reason(why)}") from why


def _planes(image: Image.Image, channels: int) -> npt.NDArray[np.uint8]:
    """Pixels (channels, h, w); one shade stands for all channels."""
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        return np.repeat(pixels[None], channels, axis=0)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _refuse_deep(stored: Image.Image) -> None:
    """Pillow keeps the upper byte of 16-bit color without a word, and 16-bit grey whole.

    Raises:
        ValueError: the file holds color of 16 bits per channel.
    """
    for raw in packings(stored):
        if ";16" in raw:
            raise ValueError(f"more than 8 bits per channel (mode {raw})")


def packings(stored: Image.Image) -> Iterator[str]:
    """How the file packs the pixels of each of its parts, in Pillow's words; none once it is loaded."""
    for tile in getattr(stored, "tile", ()):
        told = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        yield next((word for word in told if isinstance(word, str)), "")


def reason(error: Exception, kind: str = "image") -> str:
    """Why Pillow gave up; an unknown file is told with the address of an object, which says nothing."""
    if isinstance(error, UnidentifiedImageError) or not str(error):
        return f"the {kind} cannot be read: no format that Pillow knows"
    return f"the {kind} cannot be read: {error}"


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
    # A hair of an image would be scaled to gigabytes before its middle is cut out.
    longest_width = ceil(EXTREME * own_height * width / height)
    longest_height = ceil(EXTREME * own_width * height / width)
    if own_width > longest_width or own_height > longest_height:
        own_width, own_height = min(own_width, longest_width), min(own_height, longest_height)
        left, top = (image.width - own_width) // 2, (image.height - own_height) // 2
        image = image.crop((left, top, left + own_width, top + own_height))
    if width * own_height >= height * own_width:
        scaled = (width, round(own_height * width / own_width))
    else:
        scaled = (round(own_width * height / own_height), height)
    image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
    return image.crop((left, top, left + width, top + height))
