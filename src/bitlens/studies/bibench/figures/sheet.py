"""One image under every corruption and severity, as one SVG with the pixels inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bitlens.data.corruptions.table import CORRUPTIONS, SEVERITIES, corrupt
from bitlens.studies.figures.svg import QUIET, SMALL, document, shape, text

_CELL, _NAMES, _TOP, _GAP = 56, 118, 30, 26
_COLUMNS = 2


def draw_sheet(image: Tensor, *, seed: int = 0) -> str:
    """The picture: clean at the left of every row, then severities 1 to 5.

    Args:
        image: uint8 (c, h, w), one channel or three.
        seed: of the corruptions.
    """
    rows = -(-len(CORRUPTIONS) // _COLUMNS)
    block = _NAMES + (len(SEVERITIES) + 1) * _CELL + _GAP
    parts = list(_heads(block))
    for place, name in enumerate(CORRUPTIONS):
        left, top = place // rows * block, _TOP + place % rows * (_CELL + 2)
        parts.append(text(left + _NAMES - 8, top + _CELL / 2 + 4, name, anchor="end"))
        shown = [image, *(corrupt(image[None], name, s, seed=seed)[0] for s in SEVERITIES)]
        for column, one in enumerate(shown):
            parts.append(_picture(one, left + _NAMES + column * _CELL, top))
    width, height = _COLUMNS * block - _GAP + 12, _TOP + rows * (_CELL + 2) + 10
    return document(width, height, "One image under every corruption", parts)


def _heads(block: int) -> Iterator[str]:
    for left in range(0, _COLUMNS * block, block):
        for column, head in enumerate(("clean", *map(str, SEVERITIES))):
            middle = left + _NAMES + (column + 0.5) * _CELL
            yield text(middle, _TOP - 8, head, anchor="middle", size=SMALL, fill=QUIET)


def _picture(image: Tensor, left: float, top: float) -> str:
    values = image.permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values.squeeze(2) if len(image) == 1 else values)).save(
        file, format="PNG", optimize=True
    )
    return shape(
        "image",
        href="data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
        x=left,
        y=top,
        width=_CELL - 2,
        height=_CELL - 2,
        style="image-rendering: pixelated",
    )
