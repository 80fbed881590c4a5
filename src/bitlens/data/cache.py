"""Decoded images kept between runs, so that a set is decoded once per machine.

The cache only ever saves time: when the folder cannot be read or written, decoding goes on without
it and gives the same tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import PIL
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bitlens.data.decode import Decoded, decode_all
from bitlens.data.rows import Rows

_VERSION = 1
_WORTH_KEEPING = 16 * 2**20


def cache_folder() -> Path:
    """`$BITLENS_CACHE`, else `bitlens` in the user's cache folder."""
    if named := os.environ.get("BITLENS_CACHE"):
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "bitlens"


def decode_once(rows: Rows, size: int | None) -> Decoded:
    """Decode all images of a split, or take them from an earlier decoding of the same files.

    Files count as the same while their names, sizes and modification times are. Splits of less
    than 16 MiB on disk are decoded every time: that is quicker than it is worth a file.
    """
    stats = [(str(file.resolve()), file.stat()) for file in rows.files]
    if sum(stat.st_size for _, stat in stats) < _WORTH_KEEPING:
        return decode_all(rows, size)
    names = _digest([_VERSION, size, rows.part, [name for name, _ in stats]])
    # Pillow is part of the state because its codecs may round differently in another version.
    state = _digest([PIL.__version__, [[stat.st_size, stat.st_mtime_ns] for _, stat in stats]])
    path = cache_folder() / f"decoded-{names}-{state}.safetensors"
    kept = _read(path, rows)
    if kept is None:
        kept = decode_all(rows, size)
        with suppress(OSError):
            _write(path, kept)
            _drop_older(path, names)
    return kept


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:20]


def _read(path: Path, rows: Rows) -> Decoded | None:
    try:
        with safe_open(path, framework="pt") as file:
            images = file.get_tensor("images")
            kept = Decoded(images, int(file.metadata()["grey"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    whole = images.dtype == torch.uint8 and images.ndim == 4 and len(images) == len(rows)
    return kept if whole else None


def _write(path: Path, decoded: Decoded) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    os.close(handle)
    try:
        save_file({"images": decoded.images}, part, metadata={"grey": str(decoded.grey)})
        os.replace(part, path)
    except SafetensorError as why:
        raise OSError(f"cannot write {path}: {why}") from why
    finally:
        Path(part).unlink(missing_ok=True)


def _drop_older(path: Path, names: str) -> None:
    for other in path.parent.glob(f"decoded-{names}-*.safetensors"):
        if other != path:
            other.unlink(missing_ok=True)
