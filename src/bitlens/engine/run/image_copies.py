"""The first row of a program: how a caller's image comes into the net's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import LANES, Graph
from bitlens.engine.kernels import rows as r
from bitlens.engine.run.memory import Place
from bitlens.engine.run.program import address

Row = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ImageCopies:
    """Rows without the image's address and strides.

    Attributes:
        of_bytes: for uint8 images.
        of_floats: for float32 images.
        kept: constants that the rows point at.
    """

    of_bytes: Row
    of_floats: Row
    kept: tuple[npt.NDArray[Any], ...]


def image_copies(graph: Graph, place: Place, arena: int) -> ImageCopies:
    """Rows that copy an image to `place` in the arena at address `arena`."""
    height, width, channels = place.shape
    row = np.zeros(r.WIDTH, np.int64)
    row[[r.HEIGHT, r.OUT_WIDTH, r.CHANNELS]] = height, width, channels
    row[r.TARGET] = arena + place.at()
    row[[r.TARGET_ROW, r.TARGET_PIXEL]] = place.row, place.pixel
    of_bytes, of_floats = row, row.copy()
    normalisation, bytes_again = _constants(graph, channels)
    if place.kind == "u8":
        of_bytes[r.OPCODE], of_floats[r.OPCODE] = r.IMAGE_BYTES, r.IMAGE_QUANTIZE
        of_floats[r.CONSTANTS] = address(bytes_again)
    else:
        of_bytes[r.OPCODE], of_floats[r.OPCODE] = r.IMAGE_NORMALIZE, r.IMAGE_FLOATS
        of_bytes[r.CONSTANTS] = address(normalisation)
        tail = LANES * -(-channels // LANES) - channels
        of_bytes[r.TAIL] = of_floats[r.TAIL] = tail
    return ImageCopies(of_bytes=of_bytes, of_floats=of_floats, kept=(normalisation, bytes_again))


def _constants(graph: Graph, channels: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Gain and shift from bytes to normalised floats, and back, each float32 (2, c)."""
    if graph.mean is None or graph.std is None:
        return np.zeros((2, channels), np.float32), np.zeros((2, channels), np.float32)
    mean, std = np.array(graph.mean, np.float64), np.array(graph.std, np.float64)
    there = np.stack([1 / (255 * std), -mean / std]).astype(np.float32)
    return there, np.stack([255 * std, 255 * mean]).astype(np.float32)
