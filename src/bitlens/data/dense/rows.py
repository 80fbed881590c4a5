"""Scenes out of the rows of a Hugging Face `Dataset`, in parquet files or on the hub."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image, ImageMode

from bitlens.data.dense.assemble import stack_scenes
from bitlens.data.dense.decode import Scene, read_scene
from bitlens.data.dense.scenes import SceneSet
from bitlens.data.pixels import reason
from bitlens.errors import BitlensError

_IMAGE_COLUMNS = ("image", "img", "rgb")
_MASK_COLUMNS = ("label", "mask", "segmentation", "semantic", "annotation", "labels")
_DEPTH_COLUMNS = ("depth", "depth_map")
_CHUNK = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneRows:
    """One split of scenes as it is stored.

    Attributes:
        encoded: has the columns `image`, and `mask` and `depth` where they are known; pictures in
            undecoded cells `{"bytes", "path"}`, or arrays.
        where: says in words where row `i` is stored, for errors.
    """

    encoded: datasets.Dataset
    where: Callable[[int], str]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.encoded)

    def scene(self, index: int) -> Scene:
        """The scene of one row, as stored.

        Raises:
            BitlensError: something of it is missing, cannot be read or does not fit; see `read_scene`.
        """
        row, where = self.encoded[index], self.where(index)
        stored = {kind: _stored(cell, kind, where) for kind, cell in row.items()}
        return read_scene(
            stored["image"],
            stored.get("mask"),
            stored.get("depth"),
            where=where,
        )

    @property
    def depth_is_bytes(self) -> bool:
        """Whether the first depth is a picture of 8 bits, whose unit nobody can tell."""
        if "depth" not in self.encoded.column_names:
            return False
        stored = _stored(self.encoded[0]["depth"], "depth", self.where(0))
        if isinstance(stored, Image.Image):
            return ImageMode.getmode(stored.mode).typestr == "|u1"
        return stored.dtype == np.uint8

    def without_depth(self) -> SceneRows:
        """The same rows with their masks alone."""
        kept = self.encoded.remove_columns("depth")
        assert isinstance(kept, datasets.Dataset)
        return SceneRows(encoded=kept, where=self.where)

    def decode(
        self,
        *,
        image_size: int | None,
        resize_truth: bool,
        memory_limit: int,
        see: Callable[[Scene], None] | None = None,
    ) -> SceneSet:
        """All rows in memory; see `stack_scenes`.

        Args:
            image_size: as for `stack_scenes`.
            resize_truth: as for `stack_scenes`.
            memory_limit: as for `stack_scenes`.
            see: is shown every scene as stored, before it is resized.
        """
        return stack_scenes(
            self._scenes() if see is None else _shown(self._scenes(), see),
            len(self),
            where=self.where,
            image_size=image_size,
            resize_truth=resize_truth,
            memory_limit=memory_limit,
        )

    def _scenes(self) -> Iterator[Scene]:
        # The codecs of photographs let go of the interpreter lock.
        with ThreadPoolExecutor(thread_name_prefix="decode") as pool:
            for start in range(0, len(self), _CHUNK):
                yield from pool.map(self.scene, range(start, min(start + _CHUNK, len(self))))


def read_scene_rows(
    dataset: datasets.Dataset,
    *,
    where: Callable[[int], str],
    source: str,
) -> SceneRows:
    """Find the columns of images, masks and depths.

    Args:
        dataset: a split; images in a column `image`, `img` or `rgb`, masks in `label`, `mask`,
            `segmentation`, `semantic`, `annotation` or `labels`, depths in `depth` or `depth_map`.
        where: says in words where row `i` is stored.
        source: what to call the split in errors that are about all of it.

    Raises:
        BitlensError: there are no rows, no images, or neither masks nor depths.
    """
    if len(dataset) == 0:
        raise BitlensError(f"{source} has no rows")
    found = {
        kind: column
        for kind, names in (
            ("image", _IMAGE_COLUMNS),
            ("mask", _MASK_COLUMNS),
            ("depth", _DEPTH_COLUMNS),
        )
        if (column := _column(dataset, names)) is not None
    }
    if "image" not in found or len(found) == 1:
        lacking = "images" if "image" not in found else "masks and no depths"
        raise BitlensError(
            f"{source} has no {lacking}: looked for {', '.join(_IMAGE_COLUMNS)}, then "
            f"{', '.join(_MASK_COLUMNS)} or {', '.join(_DEPTH_COLUMNS)}, among "
            f"{', '.join(dataset.column_names) or 'no columns'}"
        )
    chosen = dataset.select_columns(list(found.values()))
    for kind, column in found.items():
        chosen = chosen if kind == column else chosen.rename_column(column, kind)
        assert isinstance(chosen, datasets.Dataset)
        if kind == "image" or isinstance(chosen.features[kind], datasets.Image):
            chosen = _undecoded(chosen, kind, column, source)
    assert isinstance(chosen, datasets.Dataset)
    return SceneRows(encoded=chosen, where=where)


def _shown(scenes: Iterator[Scene], see: Callable[[Scene], None]) -> Iterator[Scene]:
    for scene in scenes:
        see(scene)
        yield scene


def _column(dataset: datasets.Dataset, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in dataset.column_names), None)


def _undecoded(dataset: datasets.Dataset, kind: str, column: str, source: str) -> datasets.Dataset:
    try:
        return dataset.cast_column(kind, datasets.Image(decode=False))
    except (TypeError, ValueError, pa.ArrowException) as why:
        raise BitlensError(
            f"{source}: column {column!r} holds {dataset.features[kind]}, not images"
        ) from why


def _stored(cell: Any, kind: str, where: str) -> Image.Image | np.ndarray:
    """A cell of pictures opened, an array as it is.

    Opened by Pillow alone: the reader of `datasets` loads and turns the picture, after which nobody can
    tell how many bits the file had and whether it was turned.
    """
    if cell is None:
        raise BitlensError(f"{where}: the {kind} is missing")
    if not isinstance(cell, dict):
        return np.asarray(cell)
    if cell["bytes"] is None and cell["path"] is None:
        raise BitlensError(f"{where}: the {kind} is missing")
    try:
        # Read here, since Pillow leaves a file it opened itself open when its content is damaged.
        encoded = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
        return Image.open(io.BytesIO(encoded))
    except Exception as why:  # each codec of Pillow raises errors of its own
        raise BitlensError(f"{where}: {reason(why, kind)}") from why
