"""A folder of image files: `train/CLASS/*` and `test/CLASS/*`."""

from __future__ import annotations

from pathlib import Path

import datasets

from bitlens.data.assemble import assemble
from bitlens.data.images import ImageData
from bitlens.data.rows import Rows, read_rows
from bitlens.errors import BitlensError

_TEST_SPLITS = ("test", "validation", "val")
_SUFFIXES = {
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
}


def load(path: str, *, image_size: int | None = None, memory_limit: int) -> ImageData:
    """Read `PATH/train` and `PATH/test` (or `validation`, `val`), one folder per class in each.

    Classes are the folder names in sorted order, images all image files below them, hidden files
    apart.

    Raises:
        BitlensError: a folder is missing or empty, there is one class only, the splits have
            different classes, or an image is bad; see `assemble`.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise BitlensError(f"{root} is not a folder; folder:PATH needs one with train/ and test/")
    test = next((root / split for split in _TEST_SPLITS if (root / split).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        held = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
        raise BitlensError(
            f"{root} needs the folders train/ and test/ (or validation/, val/), it holds {held}"
        )
    return assemble(
        f"folder:{path}",
        _read(root / "train"),
        _read(test),
        image_size=image_size,
        memory_limit=memory_limit,
    )


def _read(split: Path) -> Rows:
    classes = sorted(_visible(split, folders=True))
    if not classes:
        raise BitlensError(f"{split} has no class folders; images belong in {split / 'CLASS'}/")
    if len(classes) == 1:
        raise BitlensError(f"{split} has one class only ({classes[0].name}); it needs two or more")
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(classes):
        found = _images(folder)
        if not found:
            raise BitlensError(f"{folder} holds no images ({', '.join(sorted(_SUFFIXES))})")
        files += found
        labels += [label] * len(found)
    features = datasets.Features(
        image=datasets.Image(decode=False),
        label=datasets.ClassLabel(names=[folder.name for folder in classes]),
    )
    columns = {"image": [str(file) for file in files], "label": labels}
    dataset = datasets.Dataset.from_dict(columns, features=features)
    return read_rows(
        dataset, where=lambda row: str(files[row]), files=tuple(files), source=str(split)
    )


def _images(folder: Path) -> list[Path]:
    here = [file for file in _visible(folder, folders=False) if file.suffix.lower() in _SUFFIXES]
    below = [file for sub in _visible(folder, folders=True) for file in _images(sub)]
    return sorted(here + below)


def _visible(folder: Path, *, folders: bool) -> list[Path]:
    return [
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.is_dir() == folders
    ]
