"""Sheets of pictures: a row for each scene, a column for what is known, said and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bitlens.data.dense.pictures import VOID, class_colors, viridis
from bitlens.studies.dense import tiles
from bitlens.studies.dense.lettering import (
    CARD,
    QUIET,
    SMALL,
    Color,
    bar,
    breadth,
    fitting,
    legend,
    write,
)
from bitlens.studies.figures.panel import ticks

if TYPE_CHECKING:
    from bitlens.studies.dense.predictions import Answer, Scene

MARGIN, GAP = 16, 8
HEAD, CAPTION = 60, 22
"""Pixels over the first row, and under each for what is written of it."""

LARGEST_ERROR = 95.0
"""Percentile of the shown errors at which the scale of errors ends."""

_WIDEST_BAR = 480


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """What a sheet is drawn from.

    Attributes:
        title: over everything.
        scenes: rows.
        nets: titles of the nets and their answers to the scenes; the errors of the last one are drawn.
        classes: names, in the order of the labels.
        crop: the judged part; None for everything.
    """

    title: str
    scenes: Sequence[Scene]
    nets: Sequence[tuple[str, Sequence[Answer]]]
    classes: Sequence[str]
    crop: tiles.Shares | None

    @property
    def size(self) -> tiles.Size:
        """Of a tile."""
        truth = self.scenes[0].truth
        known = truth.metres if truth.classes is None else truth.classes
        assert known is not None
        return tiles.tile_size((known.shape[0], known.shape[1]))


Cell = tuple[Image.Image, str]
"""A tile and what is written under it."""


def segmentation_sheet(shown: Shown) -> Image.Image:
    """Classes: image, truth, every net, and where the last net is wrong."""
    size, rows, seen = shown.size, [], np.zeros(VOID + 1, np.bool_)
    last, final = shown.nets[-1]
    for at, scene in enumerate(shown.scenes):
        true = scene.truth.classes
        assert true is not None
        seen[true] = True
        row: list[Cell] = [
            (tiles.photograph(scene.image, size), f"test scene {scene.number}"),
            (tiles.classes_tile(true, size), ""),
        ]
        for _, answers in shown.nets:
            said = answers[at].maps.classes
            assert said is not None
            seen[said] = True
            accuracy = answers[at].metrics["pixel_accuracy"]
            row.append((tiles.classes_tile(said, size), f"pixel accuracy {_percent(accuracy)}"))
        said = final[at].maps.classes
        assert said is not None
        wrong = 1 - final[at].metrics["pixel_accuracy"]
        row.append((tiles.wrong_tile(said, true, size), f"{_percent(wrong)} wrong"))
        rows.append(row)
    colors = class_colors()
    names: list[tuple[str, Color | None]] = [
        (name, _rgb(colors[number])) for number, name in enumerate(shown.classes) if seen[number]
    ]
    key = [("no class", None), ("right", tiles.RIGHT), ("wrong", tiles.WRONG)]
    titles = _titles(shown, f"{last}: wrong pixels")
    return _composed(shown, titles, rows, [legend([*names, *key], _width(titles))])


def depth_sheet(shown: Shown) -> Image.Image:
    """Depths: image, truth, every net, and the last net's errors in metres."""
    size, rows = shown.size, []
    last, final = shown.nets[-1]
    farthest = max(float(_metres(scene.truth.metres).max()) for scene in shown.scenes)
    depths = _scale(farthest)
    errors = _scale(_large_error(shown))
    for at, scene in enumerate(shown.scenes):
        true = _metres(scene.truth.metres)
        row: list[Cell] = [
            (tiles.photograph(scene.image, size), f"test scene {scene.number}"),
            (tiles.depth_tile(true, depths[-1], size), ""),
        ]
        for _, answers in shown.nets:
            said = _metres(answers[at].maps.metres)
            rmse = answers[at].metrics["rmse"]
            row.append((tiles.depth_tile(said, depths[-1], size), f"RMSE {rmse:.2f} m"))
        said, within = _metres(final[at].maps.metres), final[at].metrics["delta1"]
        row.append(
            (
                tiles.error_tile(said, true, errors[-1], size),
                f"{_percent(within)} within a factor 1.25",
            )
        )
        rows.append(row)
    titles = _titles(shown, f"{last}: |error|")
    wide = min(_WIDEST_BAR, _width(titles) // 2 - MARGIN)
    bars = [
        bar("depth, metres", viridis, depths, wide, open_end=_beyond(shown, depths[-1])),
        bar(f"|error| of {last}, metres", tiles.heat, errors, wide, open_end=True),
    ]
    footer = Image.new("RGB", (_width(titles), bars[0].height), CARD)
    for place, one in enumerate(bars):
        footer.paste(one, (place * (wide + 2 * MARGIN), 0))
    return _composed(
        shown, titles, rows, [footer, legend([("depth unknown", None)], _width(titles))]
    )


def _titles(shown: Shown, last: str) -> list[str]:
    return ["image", "truth", *(name for name, _ in shown.nets), last]


def _width(titles: Sequence[str]) -> int:
    return len(titles) * (tiles.WIDTH + GAP) - GAP


def _composed(
    shown: Shown,
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    footer: Sequence[Image.Image],
) -> Image.Image:
    height = shown.size[0]
    step = height + CAPTION + GAP
    below = HEAD + step * len(rows) + GAP
    whole = below + sum(part.height + GAP for part in footer) + MARGIN
    sheet = Image.new("RGB", (_width(titles) + 2 * MARGIN, whole), CARD)
    write(sheet, (MARGIN, 24), fitting(shown.title, _width(titles)))
    if shown.crop is not None:
        told = "judged inside the frame"
        used, place = breadth(shown.title), (sheet.width - MARGIN, 24)
        if used + breadth(told, SMALL) + 4 * MARGIN < sheet.width:
            write(sheet, place, told, size=SMALL, fill=QUIET, anchor="rs")
    for column, title in enumerate(titles):
        x = MARGIN + column * (tiles.WIDTH + GAP)
        write(sheet, (x, HEAD - 8), fitting(title, tiles.WIDTH, SMALL), size=SMALL)
    for number, row in enumerate(rows):
        y = HEAD + step * number
        for column, (tile, words) in enumerate(row):
            x = MARGIN + column * (tiles.WIDTH + GAP)
            sheet.paste(tiles.frame(tile, shown.crop), (x, y))
            write(sheet, (x, y + height + 17), words, size=SMALL, fill=QUIET)
    for part in footer:
        sheet.paste(part, (MARGIN, below))
        below += part.height + GAP
    return sheet


def _beyond(shown: Shown, end: float) -> bool:
    """Whether a net says more than the truth's largest depth."""
    return any(
        float(_metres(answer.maps.metres).max()) > end
        for _, answers in shown.nets
        for answer in answers
    )


def _large_error(shown: Shown) -> float:
    _, final = shown.nets[-1]
    found = []
    for scene, answer in zip(shown.scenes, final, strict=True):
        true, said = _metres(scene.truth.metres), _metres(answer.maps.metres)
        found.append(np.abs(said - true)[true > 0])
    errors = np.concatenate(found)
    return float(np.percentile(errors, LARGEST_ERROR)) if errors.size else 1.0


def _scale(end: float) -> list[float]:
    """Round ticks from 0 to one that is at least `end`."""
    end = max(end, 0.1)
    found = ticks(0.0, end)
    if found[-1] < end * 0.999:
        found.append(round(found[-1] + found[1], 10))
    return found


def _metres(known: np.ndarray | None) -> np.ndarray:
    assert known is not None
    return known


def _percent(share: float) -> str:
    return "unknown" if share != share else f"{100 * share:.0f} %"


def _rgb(color: np.ndarray) -> Color:
    red, green, blue = color.tolist()
    return red, green, blue
