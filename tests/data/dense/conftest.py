from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture
def grey_png() -> Callable[[np.ndarray, int], bytes]:
    """Writes values `(h, w)` as a grey PNG of 1, 2, 4 or 8 bits per pixel."""
    return write_grey_png


def write_grey_png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of less than 8 bits, which Pillow reads but does not write."""
    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    planes = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(height, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in planes)
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, io.SEEK_END)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        out.write(struct.pack(">I", len(body)) + kind + body)
        out.write(struct.pack(">I", zlib.crc32(kind + body)))
    return out.getvalue()
