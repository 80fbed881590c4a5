"""The idx files of the MNIST family, plain or gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from bitlens.errors import BitlensError

_LABELS = 0x0801
_IMAGES = 0x0803


def read_images(path: Path) -> np.ndarray:
    """Read uint8 images `(n, h, w)`.

    Raises:
        BitlensError: the file is missing, truncated, longer than it says, or no idx of images.
    """
    return _read(path, _IMAGES, dimensions=3)


def read_labels(path: Path) -> np.ndarray:
    """Read uint8 labels `(n,)`; raises as `read_images` does."""
    return _read(path, _LABELS, dimensions=1)


def find_idx(folder: Path, name: str) -> Path:
    """The file `name` or `name.gz` in `folder`, or a BitlensError that names both."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise BitlensError(f"{folder} lacks {name} or {name}.gz")


def _read(path: Path, magic: int, *, dimensions: int) -> np.ndarray:
    content = _content(path)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise BitlensError(f"{path} is truncated: {len(content)} bytes, its header takes {header}")
    found, *shape = np.frombuffer(content, ">u4", 1 + dimensions).tolist()
    if found != magic:
        raise BitlensError(
            f"{path} is no idx file of this kind: it starts with {found:#010x}, not {magic:#010x}"
        )
    needed = math.prod(shape)
    if len(content) - header != needed:
        state = "truncated" if len(content) - header < needed else "too long"
        raise BitlensError(
            f"{path} is {state}: {'x'.join(map(str, shape))} values make {needed} bytes, "
            f"found {len(content) - header}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as why:
        raise BitlensError(f"{path} is a damaged or truncated gzip file: {why}") from why
    except OSError as why:
        raise BitlensError(f"{path} cannot be read: {why.strerror or why}") from why
