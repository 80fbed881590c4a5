"""Labelled images and scenes: one source per file.

Every source of labelled images gives the same `ImageData`, every source of scenes, where each pixel has a
class or a depth, the same `SceneData`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bitlens.errors import BitlensError, unknown

if TYPE_CHECKING:
    from bitlens.data.dense.scenes import SceneData
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

SCENES: dict[str, str] = {
    "nyudv2": "795 + 654 rooms of NYU-Depth-v2, 40 classes and depth",
    "nyudv2-13": "the same rooms, 13 classes and depth",
    "mat:PATH": "NYU-Depth-v2 from nyu_depth_v2_labeled.mat, as PATH or, with 13 classes, PATH:13",
    "scenes:PATH": "a folder of images and masks",
    "parquet:PATH": "a folder with train-*.parquet and test-*.parquet of images, masks and depths",
    "hub:NAME": "a set of the Hugging Face hub with images, masks and depths, as NAME or NAME:CONFIG",
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

_SCENE_LOADERS = {
    "nyudv2": ("bitlens.data.dense.nyudv2", "load_40"),
    "nyudv2-13": ("bitlens.data.dense.nyudv2", "load_13"),
}

_SCENE_SCHEMES = {
    "mat": ("bitlens.data.dense.mat", "load"),
    "scenes": ("bitlens.data.dense.folder", "load"),
    "parquet": ("bitlens.data.dense.tables", "load_parquet"),
    "hub": ("bitlens.data.dense.tables", "load_hub"),
}

_Places = dict[str, tuple[str, str]]


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
    return _load(spec, _LOADERS, _SCHEMES, DATASETS, "data set", image_size, memory_limit)


def load_scenes(
    spec: str, *, image_size: int | None = None, memory_limit: int = MEMORY_LIMIT
) -> SceneData:
    """Read a data set for dense prediction.

    Args:
        spec: a name of `SCENES`, or `mat:PATH`, `scenes:PATH`, `parquet:PATH`, `hub:NAME`.
        image_size: shorter side of the images in pixels, at the aspect they have (antialiased; masks
            and depths by nearest neighbour). None keeps the stored size. Truth to learn from is of the
            images' size, truth to be judged on of the stored size.
        memory_limit: bytes of decoded pixels that a split may take.

    Raises:
        BitlensError: the name is unknown, the data cannot be found or is too large, or a file or row
            is bad.
    """
    return _load(
        spec, _SCENE_LOADERS, _SCENE_SCHEMES, SCENES, "set of scenes", image_size, memory_limit
    )


def _load(
    spec: str,
    loaders: _Places,
    schemes: _Places,
    choices: dict[str, str],
    kind: str,
    image_size: int | None,
    memory_limit: int,
) -> Any:
    if image_size is not None and image_size < 1:
        raise BitlensError(f"image_size must be at least 1 pixel, got {image_size}")
    if spec in loaders:
        module, function = loaders[spec]
        return getattr(import_module(module), function)(
            image_size=image_size, memory_limit=memory_limit
        )
    scheme, _, target = spec.partition(":")
    if scheme not in schemes:
        raise unknown(kind, spec, choices)
    if not target:
        raise BitlensError(f"{kind} {spec!r} lacks what comes after the colon")
    module, function = schemes[scheme]
    return getattr(import_module(module), function)(
        target, image_size=image_size, memory_limit=memory_limit
    )
