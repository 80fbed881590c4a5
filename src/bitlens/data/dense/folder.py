"""Folders of pictures, of masks with a class for every pixel, and of depths.

Two layouts: `train` beside `trainannot`, as the CamVid copy of SegNet (Badrinarayanan et al., PAMI 2017)
has it, and `train/images` beside `train/masks` and `train/depths`; `test` in the same way.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bitlens.data.dense.assemble import finish_scenes, stack_scenes
from bitlens.data.dense.class_list import (
    ClassList,
    count_classes,
    held_labels,
    numbered,
    read_class_list,
)
from bitlens.data.dense.decode import Scene, read_mask, read_scene
from bitlens.data.dense.scenes import SceneData, SceneSet
from bitlens.errors import BitlensError

CLASS_FILE = "classes.txt"

_EXACT = {".bmp", ".gif", ".pgm", ".png", ".tif", ".tiff"}
_LOSSY = {".jpeg", ".jpg", ".webp"}
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The files of a split, one triple per scene, in the order of their names."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...] | None
    depths: tuple[Path, ...] | None


def load(path: str, *, image_size: int | None = None, memory_limit: int) -> SceneData:
    """Read `PATH/train` and `PATH/test`; a validation split beside them is left alone.

    Files belong together by name without suffix. Masks hold class numbers (grey or palette pictures);
    their names are in `PATH/classes.txt`, see `read_class_list`, and without it the classes are the
    numbers up to the largest label of the train masks. Depths hold millimetres in 16 bits.

    Args:
        path: the folder.
        image_size: shorter side of the images in pixels; None keeps the stored size.
        memory_limit: bytes that each split may take.

    Raises:
        BitlensError: a folder or a file is missing, files have no partner, or one of them is bad; see
            `read_scene`, `stack_scenes`. The file is named.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise BitlensError(
            f"{root} is not a folder; scenes:PATH needs one with train and test in it"
        )
    train, test = _find(root, "train"), _find(root, "test")
    if train.masks is None and test.masks is not None:
        raise BitlensError(f"{root} has masks for test and none for train")
    classes, notes = _classes(root, train)
    sets = [
        _stack(split, classes, image_size, resize_truth=split is train, memory_limit=memory_limit)
        for split in (train, test)
    ]
    return finish_scenes(
        f"scenes:{path}", *sets, classes=classes.names if classes else (), notes=notes
    )


def _find(root: Path, split: str) -> _Split:
    inside, beside = root / split / "images", root / f"{split}annot"
    if inside.is_dir():
        masks, depths = root / split / "masks", root / split / "depths"
        if not masks.is_dir() and not depths.is_dir():
            raise BitlensError(f"{root / split} has images but neither masks nor depths")
        return _pair(inside, masks if masks.is_dir() else None, depths if depths.is_dir() else None)
    if beside.is_dir() and (root / split).is_dir():
        return _pair(root / split, beside, None)
    held = ", ".join(sorted(entry.name for entry in root.iterdir())[:_NAMED]) or "nothing"
    raise BitlensError(
        f"{root} needs {split}/images with {split}/masks or {split}/depths, or {split} with "
        f"{split}annot; it holds {held}"
    )


def _pair(images: Path, masks: Path | None, depths: Path | None) -> _Split:
    pictures = _by_stem(images, _EXACT | _LOSSY)
    if not pictures:
        raise BitlensError(f"{images} holds no images ({', '.join(sorted(_EXACT | _LOSSY))})")

    def partners(folder: Path) -> tuple[Path, ...]:
        found = _by_stem(folder, _EXACT)
        alone = [pictures[stem] for stem in pictures if stem not in found]
        lost = [found[stem] for stem in found if stem not in pictures]
        if alone or lost:
            raise BitlensError(_unmatched(folder, images, alone, lost))
        return tuple(found[stem] for stem in pictures)

    return _Split(
        images=tuple(pictures.values()),
        masks=None if masks is None else partners(masks),
        depths=None if depths is None else partners(depths),
    )


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir(), key=lambda file: (file.stem, file.name)):
        if file.name.startswith(".") or not file.is_file():
            continue
        suffix = file.suffix.lower()
        if suffix in _LOSSY and suffix not in suffixes:
            raise BitlensError(
                f"{file}: {suffix} does not keep every pixel's value; save it as PNG from its source"
            )
        if suffix not in suffixes:
            continue
        if file.stem in found:
            raise BitlensError(f"{found[file.stem]} and {file.name} have the same name")
        found[file.stem] = file
    return found


def _unmatched(folder: Path, images: Path, alone: list[Path], lost: list[Path]) -> str:
    told = [
        f"{home} has nothing for {', '.join(file.name for file in files[:_NAMED])}"
        + (f" and {len(files) - _NAMED} more" if len(files) > _NAMED else "")
        for home, files in ((folder, alone), (images, lost))
        if files
    ]
    return f"{'; '.join(told)}; files belong together by name, without the suffix"


def _classes(root: Path, train: _Split) -> tuple[ClassList | None, list[str]]:
    if train.masks is None:
        return None, []
    if (root / CLASS_FILE).is_file():
        return read_class_list(root / CLASS_FILE), []
    home = train.masks[0].parent
    held = held_labels(_labels(file) for file in train.masks)
    count = count_classes(held, source=f"the masks in {home}")
    note = f"{count} classes, after the largest label in {home.name}"
    return numbered(count, source=f"the train masks, {home}"), [note]


def _stack(
    split: _Split,
    classes: ClassList | None,
    image_size: int | None,
    *,
    resize_truth: bool,
    memory_limit: int,
) -> SceneSet:
    return stack_scenes(
        (_read(split, at, classes) for at in range(len(split.images))),
        len(split.images),
        where=lambda at: str(split.images[at]),
        image_size=image_size,
        resize_truth=resize_truth,
        memory_limit=memory_limit,
    )


def _read(split: _Split, at: int, classes: ClassList | None) -> Scene:
    image_file = split.images[at]
    mask_file = None if split.masks is None else split.masks[at]
    depth_file = None if split.depths is None else split.depths[at]
    with ExitStack() as opened:
        image, mask, depth = (
            None if file is None else opened.enter_context(_opened(file))
            for file in (image_file, mask_file, depth_file)
        )
        assert image is not None
        scene = read_scene(
            image,
            mask,
            depth,
            where=str(image_file),
            mask_where=str(mask_file),
            depth_where=str(depth_file),
        )
    if scene.mask is None or classes is None:
        return scene
    return replace(scene, mask=classes.translate(scene.mask, where=str(mask_file)))


def _labels(file: Path) -> npt.NDArray[np.uint8]:
    """The stored labels, before they are classes."""
    with _opened(file) as stored:
        return read_mask(stored, where=str(file))


@contextmanager
def _opened(file: Path) -> Generator[Image.Image]:
    try:
        handle = file.open("rb")
    except OSError as why:
        raise BitlensError(f"{file} cannot be opened: {why.strerror}") from why
    with handle:
        try:
            image = Image.open(handle)
        except Exception as why:  # each codec of Pillow raises errors of its own
            raise BitlensError(f"{file}: not an image in a format that Pillow knows") from why
        yield image
