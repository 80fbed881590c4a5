"""What every data source gives: labelled uint8 images in memory, and the set they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from bitlens.data.disk import DiskImageSet


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split in memory, on one device.

    Attributes:
        images: uint8 `(n, c, h, w)`.
        labels: int64 `(n,)`, on the device of the images.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Refuse tensors that are not what the rest of the package relies on."""
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (n, c, h, w), got {self.images.dtype} "
                f"{tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), got {self.labels.dtype} "
                f"{tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for color."""
        return self.images.shape[1]

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return self.images.shape[-1]

    def subset(self, indices: Tensor | Sequence[int]) -> ImageSet:
        """The images at `indices`, in that order."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.labels.device)
        return ImageSet(self.images[index], self.labels[index])

    def to(self, device: torch.device | str) -> ImageSet:
        """The same split on another device."""
        return ImageSet(self.images.to(device), self.labels.to(device))

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 `(b, c, h, w)` and labels `(b,)` for each int64 index tensor of `order`."""
        for indices in order:
            index = indices.to(self.labels.device)
            yield self.images[index], self.labels[index]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A data set for classification.

    Attributes:
        name: what it was asked for by.
        train: the images to learn from.
        test: the images to be judged on.
        classes: names, in the order of the labels.
        mean: per channel, of the train pixels in [0, 1].
        std: per channel, of the train pixels in [0, 1]; population, not sample.
        note: what a reader of the results should know about this copy; empty when nothing.
    """

    name: str
    train: ImageSet | DiskImageSet
    test: ImageSet | DiskImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str = ""

    @property
    def channels(self) -> int:
        """1 for grey, 3 for color."""
        return self.train.channels

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return self.train.image_size

    def to(self, device: torch.device | str) -> ImageData:
        """The same data set with both splits on another device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))
