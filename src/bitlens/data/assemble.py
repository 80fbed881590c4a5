"""From the stored rows of two splits to an `ImageData`: in memory, or on disk when too large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bitlens.data.cache import decode_once
from bitlens.data.decode import decode_all, decode_rows
from bitlens.data.disk import DiskImageSet
from bitlens.data.images import ImageData, ImageSet
from bitlens.data.moments import channel_moments
from bitlens.data.rows import Rows, check_same_classes
from bitlens.errors import BitlensError

_SAMPLE = 2000


def assemble(
    name: str,
    train: Rows,
    test: Rows,
    *,
    image_size: int | None,
    memory_limit: int,
    notes: Sequence[str] = (),
) -> ImageData:
    """Decode both splits, or leave on disk what is larger than `memory_limit` bytes of pixels.

    Raises:
        BitlensError: the splits do not fit together, there are fewer than two classes, a split
            that must stay on disk has no `image_size`, or an image is bad; see `decode_all`.
    """
    check_same_classes(train, test, name)
    if len(train.classes) < 2:
        raise BitlensError(f"{name} has one class only ({train.classes[0]}); give it at least two")
    said = list(notes)
    if _too_large(train, image_size, memory_limit):
        sample, channels = _sample(train, name, image_size, said)
        train_set: ImageSet | DiskImageSet = _on_disk(train, channels, image_size)
        said.append(f"mean and std estimated from {len(sample)} train images")
    else:
        train_set = _in_memory(train, name, image_size, said)
        sample, channels = train_set.images, train_set.channels
    if _too_large(test, image_size, memory_limit):
        test_set: ImageSet | DiskImageSet = _on_disk(test, channels, image_size)
    else:
        test_set = _in_memory(test, name, image_size, said)
    return finish(name, train_set, test_set, train.classes, sample, said)


def finish(
    name: str,
    train: ImageSet | DiskImageSet,
    test: ImageSet | DiskImageSet,
    classes: tuple[str, ...],
    sample: Tensor,
    notes: Sequence[str],
) -> ImageData:
    """Check that both splits have one square size and add the moments of `sample` `(m,c,h,w)`."""
    for images in (sample, test.images if isinstance(test, ImageSet) else sample):
        height, width = images.shape[2:]
        if height != width:
            raise BitlensError(
                f"{name} has images of {width}x{height} pixels; give image_size to crop them square"
            )
    if (train.image_size, train.channels) != (test.image_size, test.channels):
        raise BitlensError(
            f"{name}: train images have {train.channels} channels of side {train.image_size}, "
            f"test images {test.channels} of side {test.image_size}; give image_size, or make "
            "both splits grey or both color"
        )
    mean, std = channel_moments(sample)
    flat = [channel for channel, value in enumerate(std) if value == 0]
    if len(flat) == len(std):
        raise BitlensError(f"{name}: all train pixels are equal, there is nothing to learn from")
    said = list(notes)
    if flat:
        said.append(f"channel {', '.join(map(str, flat))} is constant, its std is taken as 1")
    return ImageData(
        name=name,
        train=train,
        test=test,
        classes=classes,
        mean=mean,
        std=tuple(value or 1.0 for value in std),
        note="; ".join(said),
    )


def sampled_rows(count: int) -> np.ndarray:
    """Up to 2,000 rows out of `count` in rising order, drawn with seed 0."""
    draw = np.random.default_rng(0).choice(count, min(_SAMPLE, count), replace=False)
    return np.sort(draw)


def _too_large(rows: Rows, image_size: int | None, memory_limit: int) -> bool:
    first = decode_rows(rows, np.arange(1), image_size)[0]
    needed = len(rows) * first.size
    if needed <= memory_limit:
        return False
    if image_size is None:
        raise BitlensError(
            f"{len(rows)} images like {rows.where(0)} take {needed / 2**30:.1f} GiB, more than "
            f"the limit of {memory_limit / 2**30:.1f} GiB: give image_size to read them from disk"
        )
    return True


def _in_memory(rows: Rows, name: str, image_size: int | None, said: list[str]) -> ImageSet:
    decoded = decode_once(rows, image_size)
    _note_grey(decoded.grey, len(rows), name, said)
    return ImageSet(decoded.images, torch.from_numpy(rows.labels))


def _on_disk(rows: Rows, channels: int, image_size: int | None) -> DiskImageSet:
    assert image_size is not None
    return DiskImageSet(
        rows=rows,
        labels=torch.from_numpy(rows.labels),
        channels=channels,
        image_size=image_size,
    )


def _sample(rows: Rows, name: str, image_size: int | None, said: list[str]) -> tuple[Tensor, int]:
    decoded = decode_all(rows.select(sampled_rows(len(rows))), image_size)
    _note_grey(decoded.grey, len(decoded.images), name, said)
    return decoded.images, decoded.images.shape[1]


def _note_grey(grey: int, count: int, name: str, said: list[str]) -> None:
    if grey in (0, count):
        return
    if grey * 2 >= count:
        raise BitlensError(
            f"{name} mixes {grey} grey with {count - grey} color images; convert them all to one"
        )
    said.append(f"{grey} of {count} images were grey and got three equal channels")
