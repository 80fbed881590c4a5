"""NYU-Depth-v2: 1,449 photographs of rooms, each with 40 classes and the depth of every pixel.

Silberman, Hoiem, Kohli and Fergus, "Indoor Segmentation and Support Inference from RGBD Images", ECCV
2012. The 40 classes are those of Gupta, Arbelaez and Malik, CVPR 2013; the 13 those of Couprie, Farabet,
Najman and LeCun, ICLR 2013.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from bitlens.data.dense.assemble import finish_scenes
from bitlens.data.dense.rows import SceneRows
from bitlens.data.dense.scenes import VOID, SceneData
from bitlens.data.dense.tables import decode_splits, hub_rows, parquet_rows, relabel
from bitlens.data.hub import Unreachable
from bitlens.data.sources import find_folder, not_found
from bitlens.errors import BitlensError

CLASSES_13 = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table",
    "tv", "wall", "window",
)  # fmt: skip

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "wall": "wall",
        "floor": "floor",
        "cabinet": "furniture",
        "bed": "bed",
        "chair": "chair",
        "sofa": "sofa",
        "table": "table",
        "door": "wall",
        "window": "window",
        "bookshelf": "furniture",
        "picture": "picture",
        "counter": "furniture",
        "blinds": "window",
        "desk": "table",
        "shelves": "furniture",
        "curtain": "window",
        "dresser": "furniture",
        "pillow": "objects",
        "mirror": "objects",
        "floor mat": "floor",
        "clothes": "objects",
        "ceiling": "ceiling",
        "books": "books",
        "refridgerator": "furniture",
        "television": "tv",
        "paper": "objects",
        "towel": "objects",
        "shower curtain": "objects",
        "box": "objects",
        "whiteboard": "objects",
        "person": "objects",
        "night stand": "furniture",
        "toilet": "objects",
        "sink": "objects",
        "lamp": "objects",
        "bathtub": "objects",
        "bag": "objects",
        "otherstructure": "objects",
        "otherfurniture": "furniture",
        "otherprop": "objects",
    }
)
"""The 40 classes in the order of their labels, spelled as published, and which of the 13 each is."""

CLASSES_40 = tuple(GROUPS)

CROP = (45 / 480, 471 / 480, 41 / 640, 601 / 640)
"""Rows 45 to 470 and columns 41 to 600 of the 480x640 frames, whose border is white: what is judged."""

REPOSITORY = "wyrx/NYUDepthv2_seg"
"""A set on the hub with the 795 and 654 scenes, masks and depths as images."""

_REDUCED = (192, 256)
_REDUCED_NOTE = (
    "256x192 copy of NYU-Depth-v2: images re-encoded as lossy WebP, depth quantised to 39 mm"
)


def load_40(*, image_size: int | None = None, memory_limit: int) -> SceneData:
    """The 40 classes and depth, from `$BITLENS_DATA/nyudv2/*.parquet` or from the hub.

    Raises:
        BitlensError: found in neither place, or a row is bad.
    """
    return _load("nyudv2", CLASSES_40, image_size, memory_limit)


def load_13(*, image_size: int | None = None, memory_limit: int) -> SceneData:
    """The 13 classes and depth, out of the same places.

    Raises:
        BitlensError: found in neither place, or a row is bad.
    """
    return _load("nyudv2-13", CLASSES_13, image_size, memory_limit)


def class_table(classes: tuple[str, ...], *, first: int = 0) -> np.ndarray:
    """What each stored byte of a mask of the 40 classes means among `classes`.

    Args:
        classes: `CLASSES_40` or `CLASSES_13`.
        first: number of the first class. The official labels count from 1, and 0 is no class.

    Returns:
        `(256,)`: a class, `VOID`, or -1 for a byte that such a mask cannot hold.
    """
    table = np.full(VOID + 1, -1)
    table[:first] = table[VOID] = VOID
    for label, name in enumerate(CLASSES_40, start=first):
        table[label] = classes.index(name if classes is CLASSES_40 else GROUPS[name])
    return table


def _load(
    name: str, classes: tuple[str, ...], image_size: int | None, memory_limit: int
) -> SceneData:
    folder = find_folder(("nyudv2",), "*.parquet")
    if folder is None:
        train, test, notes = _from_hub(name)
    else:
        train, test, notes = *parquet_rows(folder, memory_limit), []
    train_set, test_set, held = decode_splits(
        train, test, image_size=image_size, memory_limit=memory_limit
    )
    if train_set.masks is None or test_set.masks is None:
        raise BitlensError(
            f"{train.where(0)} and the rows after it have no masks; {name} needs them"
        )
    table = class_table(classes, first=0 if folder is not None else _first_class(held))
    if folder is not None and test_set.truth_size == _REDUCED:
        notes.append(_REDUCED_NOTE)
    return finish_scenes(
        name,
        relabel(train_set, table, train),
        relabel(test_set, table, test),
        classes=classes,
        crop=CROP,
        notes=notes,
    )


def _first_class(held: npt.NDArray[np.bool_]) -> int:
    """1 where the masks keep the official numbers, 1 to 40 and 0 for no class; else 0.

    All classes are among the train masks, so that a set which counts from 1 has a 40; and it has no need
    of `VOID`.
    """
    last = len(CLASSES_40)
    return int(held[last] and not held[VOID])


def _from_hub(name: str) -> tuple[SceneRows, SceneRows, list[str]]:
    try:
        train, test, note = hub_rows(REPOSITORY)
    except Unreachable as why:
        raise not_found(name, ("nyudv2",), hub=REPOSITORY, why=why) from why
    notes = [f"the copy hub:{REPOSITORY}", note] if note else [f"the copy hub:{REPOSITORY}"]
    if train.depth_is_bytes or test.depth_is_bytes:
        train, test = train.without_depth(), test.without_depth()
        notes.append("its depth has 8 bits of a unit that is not told, and is left out")
    return train, test, notes
