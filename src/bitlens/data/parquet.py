"""Parquet files in the layout of Hugging Face `datasets`."""

from __future__ import annotations

import glob
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import datasets.exceptions
import pyarrow as pa
import pyarrow.parquet as pq

from bitlens.data.arrow_cache import with_arrow_cache
from bitlens.data.assemble import assemble
from bitlens.data.images import ImageData
from bitlens.data.rows import Rows, read_rows
from bitlens.data.single import split_single
from bitlens.errors import BitlensError

_TEST_SPLITS = ("test", "validation", "val")
_SINGLE_NOTE = "one file: 80 % train and 20 % test, class-balanced, drawn with seed 0"


def load(
    path: str,
    *,
    image_size: int | None = None,
    memory_limit: int,
    name: str | None = None,
    notes: Sequence[str] = (),
) -> ImageData:
    """Read a folder with `train-*.parquet` and `test-*`, `validation-*` or `val-*.parquet`.

    `train.parquet` and so on will do as well. A single file is split 80 to 20, seeded and
    class-balanced, and the note says so.

    Raises:
        BitlensError: a file is missing or damaged, or a row is bad; see `read_rows`, `assemble`.
    """
    name = name or f"parquet:{path}"
    place = Path(path).expanduser()
    if place.is_file():
        train, test = split_single(_read([place], memory_limit))
        notes = (*notes, _SINGLE_NOTE)
    elif place.is_dir():
        train, test = (_read(files, memory_limit) for files in split_files(place))
    else:
        raise BitlensError(f"{place} does not exist; parquet:PATH needs a file or a folder")
    return assemble(
        name, train, test, image_size=image_size, memory_limit=memory_limit, notes=notes
    )


def split_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The train and the test files of a folder, each in the order of their names.

    Raises:
        BitlensError: one of them is missing.
    """
    train = _matching(folder, "train")
    test = next((files for split in _TEST_SPLITS if (files := _matching(folder, split))), [])
    missing = [split for split, files in (("train", train), ("test", test)) if not files]
    if missing:
        held = ", ".join(sorted(file.name for file in folder.iterdir())[:5]) or "nothing"
        raise BitlensError(
            f"{folder} has no {' and no '.join(missing)} files: needs train-*.parquet and "
            f"test-*.parquet (or validation-*, val-*), holds {held}"
        )
    return train, test


def _matching(folder: Path, split: str) -> list[Path]:
    return sorted(
        file
        for file in folder.glob("*.parquet")
        if file.stem == split or file.stem.startswith(f"{split}-")
    )


def _read(files: list[Path], memory_limit: int) -> Rows:
    dataset, where = open_files(files, memory_limit)
    source = str(files[0]) if len(files) == 1 else f"{files[0]} (and {len(files) - 1} more)"
    return read_rows(dataset, where=where, files=tuple(files), source=source)


def open_files(
    files: list[Path], memory_limit: int
) -> tuple[datasets.Dataset, Callable[[int], str]]:
    """All rows of some files in their order, and what says in words where row `i` is stored.

    Files of more than `memory_limit` bytes together are read through the cache of `datasets`.

    Raises:
        BitlensError: a file is damaged, or has other columns than the first; it is named.
    """
    ends = list(accumulate(_count_rows(file) for file in files))

    def where(row: int) -> str:
        at = bisect_right(ends, row)
        return f"{files[at]} row {row - (ends[at - 1] if at else 0)}"

    return _open(files, memory_limit), where


def _open(files: list[Path], memory_limit: int) -> datasets.Dataset:
    if sum(file.stat().st_size for file in files) > memory_limit:
        return _open_on_disk(files)
    parts = [_open_in_memory(file) for file in files]
    for file, part in zip(files, parts, strict=True):
        if part.features != parts[0].features:
            raise BitlensError(f"{file} has other columns than {files[0]}")
    return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)


def _open_on_disk(files: list[Path]) -> datasets.Dataset:
    names = [glob.escape(str(file)) for file in files]
    try:
        return with_arrow_cache(
            lambda folder: datasets.load_dataset(
                "parquet", data_files=names, split="train", cache_dir=folder
            )
        )
    except (datasets.exceptions.DatasetGenerationError, pa.ArrowException) as why:
        raise BitlensError(f"{files[0].parent} cannot be read: {why.__cause__ or why}") from why


def _open_in_memory(file: Path) -> datasets.Dataset:
    try:
        return datasets.Dataset(pq.ParquetFile(file).read())
    except (pa.ArrowException, OSError, ValueError, KeyError) as why:
        raise _damaged(file, why) from why


def _count_rows(file: Path) -> int:
    try:
        return pq.ParquetFile(file).metadata.num_rows
    except (pa.ArrowException, OSError) as why:
        raise _damaged(file, why) from why


def _damaged(file: Path, why: Exception) -> BitlensError:
    return BitlensError(f"{file} cannot be read as parquet, it is damaged or truncated: {why}")
