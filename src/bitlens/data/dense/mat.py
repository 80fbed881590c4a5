"""NYU-Depth-v2 out of the original labelled file, `nyu_depth_v2_labeled.mat`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bitlens.data.dense.assemble import finish_scenes, stack_scenes
from bitlens.data.dense.decode import Scene, read_scene
from bitlens.data.dense.mat_file import LabelledFile, open_labelled
from bitlens.data.dense.nyudv2 import CLASSES_13, CLASSES_40, CROP, class_table
from bitlens.data.dense.nyudv2_labels import OWN_CLASS, classes_of_labels, official_split
from bitlens.data.dense.scenes import SceneData, SceneSet
from bitlens.errors import BitlensError

_CLASSES = {"40": CLASSES_40, "13": CLASSES_13}
_NOTE = "the original labelled file; depth is the one with its holes filled in"


def load(target: str, *, image_size: int | None = None, memory_limit: int) -> SceneData:
    """Read the 795 train and 654 test frames, in the order of the official split.

    Frames are read one by one; what is kept is the images in their new size, one byte per label and two
    per depth.

    Args:
        target: path of the file; `:13` behind it asks for 13 classes, `:40` or nothing for 40.
        image_size: shorter side of the images in pixels; None keeps 480x640.
        memory_limit: bytes that each split may take.

    Raises:
        BitlensError: h5py is not installed, the file is missing, truncated or another one, or a frame is
            bad; see `open_labelled`, `read_scene`, `stack_scenes`.
    """
    path, classes = _parse(target)
    with open_labelled(path) as file:
        _check_names(file)
        table = class_table(classes).astype(np.int16)[classes_of_labels()]
        train, test = (
            _stack(file, frames, table, image_size, resize_truth, memory_limit)
            for frames, resize_truth in zip(official_split(), (True, False), strict=True)
        )
    return finish_scenes(f"mat:{target}", train, test, classes=classes, crop=CROP, notes=(_NOTE,))


def _parse(target: str) -> tuple[Path, tuple[str, ...]]:
    path, colon, count = target.rpartition(":")
    if not colon or not count.isdecimal():
        return Path(target).expanduser(), CLASSES_40
    if count not in _CLASSES:
        raise BitlensError(f"mat:{target}: there are 40 or 13 classes, not {count}")
    return Path(path).expanduser(), _CLASSES[count]


def _check_names(file: LabelledFile) -> None:
    """Labels of another numbering would give masks that look right and are not."""
    names = file.names()
    for name, label in zip(CLASSES_40[: len(OWN_CLASS)], OWN_CLASS, strict=True):
        if names[label - 1] != name:
            raise BitlensError(
                f"{file.path}: label {label} is named {names[label - 1]!r}, in the original {name!r}; "
                "the way from its labels to the classes is known for the original alone"
            )


def _stack(
    file: LabelledFile,
    frames: tuple[int, ...],
    table: np.ndarray,
    image_size: int | None,
    resize_truth: bool,
    memory_limit: int,
) -> SceneSet:
    return stack_scenes(
        _scenes(file, frames, table),
        len(frames),
        where=lambda at: file.where(frames[at]),
        image_size=image_size,
        resize_truth=resize_truth,
        memory_limit=memory_limit,
    )


def _scenes(file: LabelledFile, frames: tuple[int, ...], table: np.ndarray) -> Iterator[Scene]:
    for frame, (image, labels, depth) in zip(frames, file.frames(frames), strict=True):
        where = file.where(frame)
        yield read_scene(np.ascontiguousarray(image), table[labels], depth, where=where)
