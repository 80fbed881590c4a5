"""From encoded bytes to uint8 pixels."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from torch import Tensor

from bitlens.data.pixels import fit, plain
from bitlens.data.rows import Rows
from bitlens.errors import BitlensError

_CHUNK = 1024
# Decoding a small image holds the interpreter lock for most of its time, so that threads only
# get in each other's way; a photograph spends its time in codecs that let go of the lock.
_WORTH_THREADS = 8 * 1024
_READER = datasets.Image()


@dataclass(frozen=True)
class Decoded:
    """All images of a split: uint8 `(n, c, h, w)`, and how many of them were stored grey."""

    images: Tensor
    grey: int


def decode_cell(cell: dict, size: int | None = None) -> np.ndarray:
    """One image as uint8 `(1, h, w)` when stored grey, else `(3, h, w)`; alpha is dropped.

    Raises:
        ValueError: the image has more than 8 bits per channel.
        Exception: whatever the image codec raises on a damaged file.
    """
    # Read here, since Pillow leaves a file it opened itself open when its content is damaged.
    encoded = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    image = plain(_READER.decode_example({"bytes": encoded, "path": None}))
    if size is not None:
        image = fit(image, size, size)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode_rows(
    rows: Rows, indices: np.ndarray, size: int | None, *, channels: int | None = None
) -> list[np.ndarray]:
    """The images at `indices`, each uint8 `(1 or 3, h, w)` as stored, or `(channels, h, w)`.

    Raises:
        BitlensError: an image is missing or cannot be decoded, or is in color where `channels`
            is 1; it is named.
    """
    if len(indices) == 0:
        return []
    cells = rows.cells(indices)
    return [
        _decode_named(cell, size, channels, rows, int(index))
        for cell, index in zip(cells, indices, strict=True)
    ]


def decode_all(rows: Rows, size: int | None) -> Decoded:
    """Every image of a split in one tensor; grey ones among color ones get three equal channels.

    Raises:
        BitlensError: an image cannot be decoded, or is of another size than the first one and
            `size` is None; it is named.
    """
    images: Tensor | None = None
    grey, at = 0, 0
    for arrays in _chunks(rows, size):
        if images is None:
            images = torch.empty((len(rows), *arrays[0].shape), dtype=torch.uint8)
        for array in arrays:
            if array.shape[1:] != images.shape[2:]:
                raise _mixed_sizes(rows, at, array, images)
            if array.shape[0] > images.shape[1]:
                images = images.expand(-1, 3, -1, -1).contiguous()
            grey += array.shape[0] == 1
            images[at].numpy()[:] = array
            at += 1
    if images is None:
        raise BitlensError(f"no images to decode at {rows.where(0)}")
    return Decoded(images, grey)


def _chunks(rows: Rows, size: int | None) -> Iterator[list[np.ndarray]]:
    starts = range(0, len(rows), _CHUNK)
    spans = (np.arange(at, min(at + _CHUNK, len(rows))) for at in starts)
    if _encoded_bytes(rows.cells(np.arange(1))[0]) < _WORTH_THREADS:
        yield from (decode_rows(rows, span, size) for span in spans)
        return
    with ThreadPoolExecutor(thread_name_prefix="decode") as pool:
        for span in spans:
            parts = np.array_split(span, max(1, len(span) // 16))
            jobs = [pool.submit(decode_rows, rows, part, size) for part in parts]
            yield [array for job in jobs for array in job.result()]


def _encoded_bytes(cell: dict | None) -> int:
    # A cell without bytes is a path: a file of its own, most likely a photograph.
    return _WORTH_THREADS if not cell or cell["bytes"] is None else len(cell["bytes"])


def _decode_named(
    cell: dict | None, size: int | None, channels: int | None, rows: Rows, index: int
) -> np.ndarray:
    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        raise BitlensError(f"{rows.where(index)}: the image is missing")
    try:
        array = decode_cell(cell, size)
    except Exception as why:  # each codec of Pillow raises errors of its own
        raise BitlensError(f"{rows.where(index)}: the image cannot be read: {why}") from why
    if channels == 1 and array.shape[0] == 3:
        raise BitlensError(f"{rows.where(index)}: a color image in a grey set")
    return np.repeat(array, 3, axis=0) if channels == 3 and array.shape[0] == 1 else array


def _mixed_sizes(rows: Rows, row: int, array: np.ndarray, images: Tensor) -> BitlensError:
    height, width = array.shape[1:]
    return BitlensError(
        f"{rows.where(row)} is {width}x{height} pixels but {rows.where(0)} is "
        f"{images.shape[3]}x{images.shape[2]}; give image_size to bring all images to one size"
    )
