"""Text and keys of a sheet: titles, a legend of classes, a bar of metres. Pillow and numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from bitlens.studies.dense.tiles import hatched

INK, QUIET, CARD = (27, 31, 36), (89, 99, 110), (255, 255, 255)
NORMAL, SMALL = 19, 16
"""Heights of letters in pixels."""

SWATCH = 20
BAR = 18
_BESIDE = 8
_APART = 26

Color = tuple[int, int, int]


def breadth(words: str, size: int = NORMAL) -> int:
    """Pixels of a text's width."""
    return math.ceil(ImageFont.load_default(size).getlength(words))


def write(
    sheet: Image.Image,
    at: tuple[float, float],
    words: str,
    *,
    size: int = NORMAL,
    fill: Color = INK,
    anchor: str = "ls",
) -> None:
    """Text at a point; the anchor is Pillow's, by default where the baseline starts."""
    ImageDraw.Draw(sheet).text(
        at, words, font=ImageFont.load_default(size), fill=fill, anchor=anchor
    )


def fitting(words: str, width: int, size: int = NORMAL) -> str:
    """The text, cut with two dots where it is wider."""
    if breadth(words, size) <= width:
        return words
    kept = words
    while kept and breadth(kept + "..", size) > width:
        kept = kept[:-1]
    return kept + ".."


def legend(entries: Sequence[tuple[str, Color | None]], width: int) -> Image.Image:
    """Names beside their colors, in lines; None is the hatching of what is unknown."""
    lines: list[list[tuple[str, Color | None]]] = [[]]
    used = 0
    for name, color in entries:
        needed = SWATCH + _BESIDE + breadth(name, SMALL) + _APART
        if used and used + needed > width:
            lines.append([])
            used = 0
        lines[-1].append((name, color))
        used += needed
    step = SWATCH + _BESIDE
    made = Image.new("RGB", (width, step * len(lines)), CARD)
    for row, line in enumerate(lines):
        x = 0
        for name, color in line:
            made.paste(_swatch(color), (x, step * row))
            write(made, (x + SWATCH + _BESIDE, step * row + 15), name, size=SMALL)
            x += SWATCH + _BESIDE + breadth(name, SMALL) + _APART
    return made


def bar(
    title: str,
    colors: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.uint8]],
    ticks: Sequence[float],
    width: int,
    *,
    open_end: bool = False,
) -> Image.Image:
    """A scale from 0 to the last of `ticks`, with its title over it and its numbers under it.

    Args:
        title: what it measures.
        colors: RGB (n, 3) of shares (n,) of the last tick.
        ticks: values that are written, in order, the first one 0.
        width: in pixels.
        open_end: whether larger values have the last one's color.
    """
    margin = 24
    made = Image.new("RGB", (width, 24 + BAR + 28), CARD)
    write(made, (0, 16), title, size=SMALL)
    long = width - margin
    band = np.broadcast_to(colors((np.arange(long) + 0.5) / long), (BAR, long, 3))
    made.paste(Image.fromarray(np.ascontiguousarray(band)), (0, 24))
    draw = ImageDraw.Draw(made)
    draw.rectangle((0, 24, long - 1, 24 + BAR - 1), outline=QUIET)
    for place, value in enumerate(ticks):
        x = min(value / ticks[-1] * long, long - 1)
        draw.line((x, 24 + BAR, x, 24 + BAR + 4), fill=QUIET)
        last = place == len(ticks) - 1
        words = f"{value:g}" + ("+" if last and open_end else "")
        write(made, (x, 24 + BAR + 20), words, size=SMALL, anchor="ls" if place == 0 else "ms")
    return made


def _swatch(color: Color | None) -> Image.Image:
    if color is not None:
        made = Image.new("RGB", (SWATCH, SWATCH), color)
    else:
        blank = np.zeros((SWATCH, SWATCH, 3), np.uint8)
        made = hatched(blank, np.ones((SWATCH, SWATCH), np.bool_))
    ImageDraw.Draw(made).rectangle((0, 0, SWATCH - 1, SWATCH - 1), outline=QUIET)
    return made
