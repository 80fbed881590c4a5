"""Labelled images: one source per file, all of them giving the same `ImageData`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bitlens.errors import BitlensError, unknown

if TYPE_CHECKING:
    from bitlens.data.images import ImageData

MEMORY_LIMIT = 2 * 2**30
"""Bytes of decoded uint8 pixels above which a split stays on disk."""

DATASETS: dict[str, str] = {
    "fashion-mnist-mini": "10,000 + 2,000 grey 28x28 pieces of clothing, 10 classes; ships inside",
    "fashion-mnist": "60,000 + 10,000 grey 28x28 pieces of clothing, 10 classes",
    "cifar10": "50,000 + 10,000 color 32x32 photographs, 10 classes",
    "cifar100": "50,000 + 10,000 color 32x32 photographs, 100 classes",
    "parquet:PATH": "a parquet file, or a folder with train-*.parquet and test-*.parquet",
    "folder:PATH": "a folder with train/CLASS/*.png and test/CLASS/*.png",
    "hub:NAME": "any image classification set of the Hugging Face hub, as NAME or NAME:CONFIG",
}

_LOADERS = {
    "fashion-mnist-mini": ("bitlens.data.fashion_mnist", "load_mini"),
    "fashion-mnist": ("bitlens.data.fashion_mnist", "load_full"),
    "cifar10": ("bitlens.data.cifar", "load_cifar10"),
    "cifar100": ("bitlens.data.cifar", "load_cifar100"),
}

_SCHEMES = {
    "parquet": ("bitlens.data.parquet", "load"),
    "folder": ("bitlens.data.folder", "load"),
    "hub": ("bitlens.data.hub", "load"),
}


def load(
    spec: str, *, image_size: int | None = None, memory_limit: int = MEMORY_LIMIT
) -> ImageData:
    """Read a data set.

    Args:
        spec: a name of `DATASETS`, or `parquet:PATH`, `folder:PATH`, `hub:NAME`.
        image_size: side in pixels; images are resized (shorter side, bilinear) and cropped in the
            middle to a square of this side. None keeps the stored size, which must then be one
            square size for the whole set.
        memory_limit: bytes of decoded pixels above which a split is decoded from disk on demand.

    Raises:
        BitlensError: the name is unknown, the data cannot be found, or a file or row is bad.
    """
    if image_size is not None and image_size < 1:
        raise BitlensError(f"image_size must be at least 1 pixel, got {image_size}")
    if spec in _LOADERS:
        module, function = _LOADERS[spec]
        return getattr(import_module(module), function)(
            image_size=image_size, memory_limit=memory_limit
        )
    scheme, _, target = spec.partition(":")
    if scheme not in _SCHEMES:
        raise unknown("data set", spec, DATASETS)
    if not target:
        raise BitlensError(f"data set {spec!r} lacks what comes after the colon")
    module, function = _SCHEMES[scheme]
    return getattr(import_module(module), function)(
        target, image_size=image_size, memory_limit=memory_limit
    )
