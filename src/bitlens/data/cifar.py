"""CIFAR-10 and CIFAR-100.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

from bitlens.data import hub, parquet
from bitlens.data.images import ImageData
from bitlens.data.sources import find_folder, not_found

_NEAR_LOSSLESS = "near-lossless copy of CIFAR-100: 5 bits per channel, error at most 4 of 255"


def load_cifar10(*, image_size: int | None = None, memory_limit: int) -> ImageData:
    """CIFAR-10, from `$BITLENS_DATA/cifar10/*.parquet` or from the hub."""
    return _load("cifar10", ("cifar10",), "uoft-cs/cifar10", image_size, memory_limit)


def load_cifar100(*, image_size: int | None = None, memory_limit: int) -> ImageData:
    """CIFAR-100 with its 100 fine labels.

    From `$BITLENS_DATA/cifar100/*.parquet`, else from the near-lossless copy
    `$BITLENS_DATA/cifar100_q5/*.parquet` (5 bits per channel, said in the note), else the hub.
    """
    names = ("cifar100", "cifar100_q5")
    return _load("cifar100", names, "uoft-cs/cifar100", image_size, memory_limit)


def _load(
    name: str, names: tuple[str, ...], repository: str, image_size: int | None, memory_limit: int
) -> ImageData:
    folder = find_folder(names, "*.parquet")
    if folder is None:
        try:
            return hub.load(repository, image_size=image_size, memory_limit=memory_limit, name=name)
        except hub.Unreachable as why:
            raise not_found(name, names, hub=repository, why=why) from why
    notes = (_NEAR_LOSSLESS,) if folder.name.endswith("_q5") else ()
    return parquet.load(
        str(folder), image_size=image_size, memory_limit=memory_limit, name=name, notes=notes
    )
