"""Masks and depths as pictures: palette PNG of classes, 16-bit PNG of millimetres, and what eyes read.

The first two are in the formats in which a folder of scenes is read back. Pillow and numpy only.
"""

from __future__ import annotations

import colorsys
import io
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

NEAREST, FARTHEST = 0.1, 10.0
"""Metres to which depths are clamped, as they are where nets are judged."""

OPACITY = 0.5
"""Share of a class's color in an overlay."""

GOLDEN = 0.6180339887498949
"""Turn of the hue from a class to the next; no two of many classes come close."""

SHADES = ((0.75, 1.0), (0.95, 0.6), (0.4, 0.95), (1.0, 0.85), (0.5, 0.65))
"""Saturation and value, in turns of five: of forty classes those that are near in hue, by the golden turn
8, 13, 21 or 34 apart, differ in these."""

VIRIDIS = (
    (68, 1, 84),
    (71, 44, 122),
    (59, 81, 139),
    (44, 113, 142),
    (33, 144, 141),
    (39, 173, 129),
    (92, 200, 99),
    (170, 220, 50),
    (253, 231, 37),
)
"""Nine colors of the map viridis (van der Walt and Smith, 2015; public domain), evenly spaced."""

VOID = 255
"""Palette index of no class; it stays black."""


USUAL, QUICK = 6, 1
"""Levels of PNG's compression: zlib's own choice, and a quarter of its time for pictures to look at."""

BAND_ROWS = 256
"""Rows of a mask that are counted at once."""


def class_colors() -> npt.NDArray[np.uint8]:
    """RGB of every class (256, 3); black for `VOID`."""
    colors = np.zeros((256, 3), np.uint8)
    for number in range(VOID):
        saturation, value = SHADES[number % len(SHADES)]
        rgb = colorsys.hsv_to_rgb(number * GOLDEN % 1, saturation, value)
        colors[number] = np.rint(255 * np.array(rgb))
    return colors


def viridis(shares: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """RGB (n, 3) of shares (n,): dark purple up to 0, yellow from 1."""
    places = shares * (len(VIRIDIS) - 1)
    anchors = np.arange(len(VIRIDIS))
    bands = [np.interp(places, anchors, band) for band in zip(*VIRIDIS, strict=True)]
    return np.rint(np.stack(bands, 1)).astype(np.uint8)


def save_mask(classes: npt.NDArray[np.uint8], path: Path) -> None:
    """Write classes (H, W) as a palette PNG whose indices are the classes; whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    image = Image.fromarray(classes)
    image.putpalette(class_colors().reshape(-1).tolist())
    _save(image, path)


def save_overlay(
    picture: Image.Image, classes: npt.NDArray[np.uint8], names: Sequence[str], path: Path
) -> None:
    """Write a picture with every pixel halfway to its class's color, as RGB PNG.

    The text "classes" of the file lists the colors of the classes in it, "#rrggbb name" a line.

    Args:
        picture: mode L or RGB.
        classes: (H, W) of the picture's size.
        names: of the classes.
        path: to write to.

    Raises:
        OSError: the file cannot be written.
    """
    colors = class_colors()
    pixels = np.asarray(picture.convert("RGB"))
    # A number of the table for every shade and color: no map of floats is made.
    shades = np.arange(256)[:, None, None]
    blended = np.rint((1 - OPACITY) * shades + OPACITY * colors[None]).astype(np.uint8)
    made = np.empty_like(pixels)
    for channel in range(3):
        places = pixels[..., channel].astype(np.uint16) << 8 | classes
        made[..., channel] = np.take(np.ascontiguousarray(blended[..., channel]), places)
    seen = [
        number for number in count_classes(classes).nonzero()[0].tolist() if number < len(names)
    ]
    legend = "\n".join(f"#{bytes(colors[number]).hex()} {names[number]}" for number in seen)
    _save(Image.fromarray(made), path, {"classes": legend}, QUICK)


def count_classes(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Pixels of each of 256 labels, of a mask (H, W)."""
    counted = np.zeros(256, np.int64)
    # `bincount` makes an int64 of every pixel: a band of rows at a time.
    for first in range(0, len(classes), BAND_ROWS):
        counted += np.bincount(classes[first : first + BAND_ROWS].reshape(-1), minlength=256)
    return counted


def millimetres(metres: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Depths as whole millimetres, clamped to `NEAREST` and `FARTHEST`."""
    return np.rint(1000 * metres.clip(NEAREST, FARTHEST)).astype(np.uint16)


def save_depth(depth: npt.NDArray[np.uint16], path: Path) -> None:
    """Write millimetres (H, W) as a PNG of 16 bits.

    Raises:
        OSError: the file cannot be written.
    """
    _save(Image.fromarray(depth), path)


def save_depth_colors(depth: npt.NDArray[np.uint16], path: Path) -> None:
    """Write millimetres (H, W) in colors of even brightness steps, from the nearest to the farthest.

    The text "metres" of the file names both ends, dark purple and yellow.

    Raises:
        OSError: the file cannot be written.
    """
    near, far = int(depth.min()), int(depth.max())
    colors = viridis(np.arange(far - near + 1) / max(far - near, 1))[depth - near]
    text = f"dark purple {near / 1000:.3f}, yellow {far / 1000:.3f}"
    _save(Image.fromarray(colors), path, {"metres": text}, QUICK)


def _save(
    image: Image.Image, path: Path, texts: Mapping[str, str] | None = None, level: int = USUAL
) -> None:
    """Put a PNG in the place of `path` once all of it is written; until then what is there stays."""
    info = PngInfo()
    for key, text in (texts or {}).items():
        info.add_itxt(key, text)
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", pnginfo=info, compress_level=level)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        draft.write_bytes(encoded.getvalue())
        os.replace(draft, path)
    except OSError as error:
        # The name that was asked for, not the draft's.
        error.filename = str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)
