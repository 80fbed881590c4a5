"""Fashion-MNIST: the part that ships with the package, and the full set.

Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", arXiv:1708.07747, 2017.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bitlens.data import hub, parquet
from bitlens.data.assemble import finish
from bitlens.data.idx import find_idx, read_images, read_labels
from bitlens.data.images import ImageData, ImageSet
from bitlens.data.pixels import fit
from bitlens.data.rows import check_labels
from bitlens.data.sources import find_folder, not_found
from bitlens.errors import BitlensError

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
HUB = "zalando-datasets/fashion_mnist"
_NAMES = ("fashion-mnist",)
_FILES = {"train": "train", "test": "t10k"}


def load_mini(*, image_size: int | None = None, memory_limit: int) -> ImageData:
    """The first 1,000 train and 200 test images of every class, in the official order."""
    with resources.as_file(resources.files("bitlens.data") / "fashion_mnist_mini") as folder:
        return parquet.load(
            str(folder),
            image_size=image_size,
            memory_limit=memory_limit,
            name="fashion-mnist-mini",
            notes=("1,000 train and 200 test images per class of Fashion-MNIST",),
        )


def load_full(*, image_size: int | None = None, memory_limit: int) -> ImageData:
    """All of Fashion-MNIST, from `$BITLENS_DATA/fashion-mnist` or from the hub.

    The split must fit in memory decoded, which 70,000 images of any sensible size do.
    """
    folder = find_folder(_NAMES, "*-ubyte*")
    if folder is not None:
        return _from_idx(folder, image_size)
    try:
        return hub.load(HUB, image_size=image_size, memory_limit=memory_limit, name="fashion-mnist")
    except hub.Unreachable as why:
        raise BitlensError(
            f"{not_found('fashion-mnist', _NAMES, hub=HUB, why=why)}; on Debian and Ubuntu: "
            "apt install dataset-fashion-mnist, then point BITLENS_DATA at the folder above its files"
        ) from why


def read_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The idx files of `train` or `test`: uint8 images `(n, 28, 28)`, int64 labels `(n,)`.

    Raises:
        BitlensError: a file is missing or damaged, the counts differ, or a label is no class.
    """
    image_file = find_idx(folder, f"{_FILES[split]}-images-idx3-ubyte")
    label_file = find_idx(folder, f"{_FILES[split]}-labels-idx1-ubyte")
    images, labels = read_images(image_file), read_labels(label_file).astype(np.int64)
    if len(images) != len(labels):
        raise BitlensError(
            f"{image_file} holds {len(images)} images but {label_file} {len(labels)} labels"
        )
    if len(images) == 0:
        raise BitlensError(f"{image_file} holds no images")
    check_labels(labels, len(CLASSES), where=lambda row: f"{label_file} row {row}")
    return images, labels


def _from_idx(folder: Path, image_size: int | None) -> ImageData:
    train, test = (_image_set(*read_split(folder, split), image_size) for split in _FILES)
    return finish("fashion-mnist", train, test, CLASSES, train.images, ())


def _image_set(images: np.ndarray, labels: np.ndarray, image_size: int | None) -> ImageSet:
    if image_size is not None and images.shape[1:] != (image_size, image_size):
        images = np.stack(
            [np.asarray(fit(Image.fromarray(one), image_size, image_size)) for one in images]
        )
    return ImageSet(torch.tensor(images)[:, None], torch.from_numpy(labels))
