"""Scenes from parquet files and from the Hugging Face hub: rows with images, masks and depths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bitlens.data.dense.assemble import finish_scenes
from bitlens.data.dense.class_list import count_classes, held_labels
from bitlens.data.dense.decode import Scene
from bitlens.data.dense.rows import SceneRows, read_scene_rows
from bitlens.data.dense.scenes import VOID, SceneData, SceneSet
from bitlens.data.hub import load_splits
from bitlens.data.parquet import open_files, split_files
from bitlens.errors import BitlensError

_TEST_SPLITS = ("test", "validation", "valid", "val")


def load_parquet(
    path: str, *, image_size: int | None = None, memory_limit: int, name: str | None = None
) -> SceneData:
    """Read a folder with `train-*.parquet` and `test-*`, `validation-*` or `val-*.parquet`.

    Raises:
        BitlensError: a file is missing or damaged, or a row is bad; see `read_scene_rows`.
    """
    train, test = parquet_rows(Path(path).expanduser(), memory_limit)
    return load_rows(
        name or f"parquet:{path}", train, test, image_size=image_size, memory_limit=memory_limit
    )


def load_hub(
    target: str, *, image_size: int | None = None, memory_limit: int, name: str | None = None
) -> SceneData:
    """Read `NAME` or `NAME:CONFIG` of the hub, or of its local cache.

    Raises:
        Unreachable: the hub cannot be reached, quickly, and the set is not in the cache.
        BitlensError: no such set or no two splits, or a row is bad; see `read_scene_rows`.
    """
    train, test, note = hub_rows(target)
    return load_rows(
        name or f"hub:{target}",
        train,
        test,
        image_size=image_size,
        memory_limit=memory_limit,
        notes=(note,) if note else (),
    )


def load_rows(
    name: str,
    train: SceneRows,
    test: SceneRows,
    *,
    image_size: int | None,
    memory_limit: int,
    notes: tuple[str, ...] = (),
) -> SceneData:
    """Decode both splits; classes are numbered up to the largest of the train masks as stored.

    Raises:
        BitlensError: a row is bad, the train masks hold fewer than two classes, or the test masks hold a
            class that the train masks lack.
    """
    train_set, test_set, held = decode_splits(
        train, test, image_size=image_size, memory_limit=memory_limit
    )
    classes = 0
    if train_set.masks is not None and test_set.masks is not None:
        classes = count_classes(held, source=f"the masks of {train.where(0)} and the rows after it")
        table = np.arange(VOID + 1)
        table[classes:VOID] = -1
        test_set = relabel(test_set, table, test)
    names = tuple(str(number) for number in range(classes))
    return finish_scenes(name, train_set, test_set, classes=names, notes=notes)


def decode_splits(
    train: SceneRows, test: SceneRows, *, image_size: int | None, memory_limit: int
) -> tuple[SceneSet, SceneSet, npt.NDArray[np.bool_]]:
    """Both splits in memory: train truth of the images' size, test truth as stored.

    The third is bool `(256,)`, whether each label is anywhere in the train masks as stored; resizing them
    may lose the last of a small object.
    """
    held = np.zeros(VOID + 1, np.bool_)

    def see(scene: Scene) -> None:
        if scene.mask is not None:
            np.logical_or(held, held_labels([scene.mask]), out=held)

    return (
        train.decode(image_size=image_size, resize_truth=True, memory_limit=memory_limit, see=see),
        test.decode(image_size=image_size, resize_truth=False, memory_limit=memory_limit),
        held,
    )


def relabel(scenes: SceneSet, table: np.ndarray, rows: SceneRows) -> SceneSet:
    """The same scenes with class `k` of their masks called `table[k]`.

    Args:
        scenes: with masks.
        table: `(256,)`, a class or `VOID` for each stored byte; -1 for those that should not be there.
        rows: where the scenes came from, for errors.

    Raises:
        BitlensError: a mask holds what should not be there; the row is named.
    """
    assert scenes.masks is not None
    masks = np.empty(tuple(scenes.masks.shape), np.uint8)
    for at, mask in enumerate(scenes.masks.numpy()):
        held = np.flatnonzero(np.bincount(mask.ravel(), minlength=VOID + 1))
        if (bad := held[table[held] < 0]).size:
            known = np.flatnonzero(table[:VOID] >= 0)
            raise BitlensError(
                f"{rows.where(at)}: label {bad[0]} of the mask is beyond the classes, which go from "
                f"{known[0]} to {known[-1]}, and is not {VOID}, which is no class"
            )
        masks[at] = table.astype(np.uint8)[mask]
    return SceneSet(scenes.images, torch.from_numpy(masks), scenes.depths)


def parquet_rows(folder: Path, memory_limit: int) -> tuple[SceneRows, SceneRows]:
    """The train and test rows of a folder of parquet files."""
    if not folder.is_dir():
        raise BitlensError(f"{folder} is not a folder; it needs train-*.parquet and test-*.parquet")
    train, test = (_read_files(files, memory_limit) for files in split_files(folder))
    return train, test


def hub_rows(target: str) -> tuple[SceneRows, SceneRows, str]:
    """The train and test rows of a set on the hub, and what a reader should know; see `load_hub`.

    The test split is `test`, else `validation`, else the only one beside `train`.
    """
    repository, _, config = target.partition(":")
    splits = load_splits(repository, config or None)
    names = [str(split) for split in splits]
    others = [split for split in names if split != "train"]
    test = next((split for split in _TEST_SPLITS if split in others), None)
    if test is None and len(others) == 1:
        test = others[0]
    if "train" not in names or test is None:
        raise BitlensError(
            f"hub:{target} needs a train and a test split, it has {', '.join(names) or 'none'}"
        )
    train_rows, test_rows = (
        read_scene_rows(
            splits[split],
            where=lambda row, split=split: f"hub:{target} {split} row {row}",
            source=f"hub:{target} {split}",
        )
        for split in ("train", test)
    )
    return train_rows, test_rows, "" if test == "test" else f"tested on the {test} split"


def _read_files(files: list[Path], memory_limit: int) -> SceneRows:
    dataset, where = open_files(files, memory_limit)
    return read_scene_rows(dataset, where=where, source=str(files[0]))
