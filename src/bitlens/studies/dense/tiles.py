"""The little pictures of a sheet: photographs, classes, depths and errors. Pillow and numpy only.

The colors are those of `bitlens predict`; what is unknown is hatched, so that it is no class and no depth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from bitlens.data.dense.pictures import VOID, class_colors, viridis

WIDTH = 256
"""Pixels of every tile's width; its height follows from the shape of the truth."""

Size = tuple[int, int]
"""Height and width in pixels."""

Shares = tuple[float, float, float, float]
"""Top, bottom, left and right of the judged part, as shares of height and width."""

RIGHT, WRONG = (226, 230, 234), (213, 94, 0)
HATCH, PAPER = (150, 156, 163), (250, 250, 250)
HEAT = ((255, 255, 255), (253, 208, 140), (240, 120, 50), (178, 24, 43), (70, 0, 20))
"""Colors of errors, evenly spaced from none to the largest."""

_STEP = 8


def tile_size(truth: Size) -> Size:
    """Height and width of the tiles of scenes whose truth is of this size."""
    height, width = truth
    return max(1, round(WIDTH * height / width)), WIDTH


def photograph(pixels: npt.NDArray[np.uint8], size: Size) -> Image.Image:
    """An image (h, w, 3) or (h, w, 1)."""
    made = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return made.convert("RGB").resize((size[1], size[0]), Image.Resampling.BICUBIC)


def classes_tile(classes: npt.NDArray[np.uint8], size: Size) -> Image.Image:
    """Classes (H, W) in their colors, `VOID` hatched."""
    shown = nearest(classes, size)
    return hatched(class_colors()[shown], shown == VOID)


def wrong_tile(said: npt.NDArray[np.uint8], true: npt.NDArray[np.uint8], size: Size) -> Image.Image:
    """Where the class is another one than the true one; hatched where that is unknown."""
    said, true = nearest(said, size), nearest(true, size)
    colors = np.array([WRONG, RIGHT], np.uint8)[(said == true).astype(np.intp)]
    return hatched(colors, true == VOID)


def depth_tile(metres: npt.NDArray[np.floating], top: float, size: Size) -> Image.Image:
    """Depths (H, W) from dark purple at 0 to yellow at `top` metres, unknown ones, 0, hatched."""
    shown = nearest(metres, size)
    colors = viridis((shown / top).reshape(-1)).reshape(*shown.shape, 3)
    return hatched(colors, shown <= 0)


def error_tile(
    said: npt.NDArray[np.floating], true: npt.NDArray[np.floating], top: float, size: Size
) -> Image.Image:
    """|said - true| from white at 0 to dark red at `top` metres; hatched where the truth is unknown."""
    said, true = nearest(said, size), nearest(true, size)
    return hatched(heat(np.abs(said - true) / top), true <= 0)


def heat(shares: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """RGB of shares of any shape: white up to 0, dark red from 1."""
    anchors = np.linspace(0, 1, len(HEAT))
    bands = [np.interp(shares, anchors, band) for band in zip(*HEAT, strict=True)]
    return np.rint(np.stack(bands, -1)).astype(np.uint8)


def hatched(colors: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_]) -> Image.Image:
    """Colors (h, w, 3) with slanting lines in the place of some."""
    rows, columns = np.indices(where.shape)
    lines = np.array([PAPER, HATCH], np.uint8)[((rows + columns) % _STEP < 2).astype(np.intp)]
    return Image.fromarray(np.where(where[..., None], lines, colors))


def frame(tile: Image.Image, crop: Shares | None) -> Image.Image:
    """The tile with the judged part inside a thin line, white beside black to be seen on any color."""
    if crop is None:
        return tile
    top, bottom, left, right = crop
    draw = ImageDraw.Draw(tile)
    box = (
        round(left * tile.width),
        round(top * tile.height),
        round(right * tile.width) - 1,
        round(bottom * tile.height) - 1,
    )
    draw.rectangle(box, outline=(255, 255, 255))
    draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline=(0, 0, 0))
    return tile


def nearest(values: npt.NDArray, size: Size) -> npt.NDArray:
    """Values (H, W) at another size, each the one whose pixel holds the new pixel's centre."""
    rows, columns = (
        ((np.arange(to) + 0.5) * of / to).astype(np.int64)
        for to, of in zip(size, values.shape, strict=True)
    )
    return values[rows[:, None], columns]
