"""What every source of scenes gives: uint8 images, and what is known of every pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

VOID = 255
"""Label of a pixel of no class; it counts in no loss and in no metric."""

MILLIMETRES = 1000
"""Stored units of depth in a metre."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of the pixels of b images.

    Attributes:
        mask: int64 `(b, H, W)` classes, `VOID` where there is none; None where no masks are known.
        depth: float32 `(b, H, W)` metres, 0 where it is unknown; None where no depths are known.
    """

    mask: Tensor | None
    depth: Tensor | None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.known)

    @property
    def known(self) -> Tensor:
        """The masks, or the depths where there are no masks: `(b, H, W)`, for sizes and devices."""
        return _first_known(self.mask, self.depth)

    def __getitem__(self, which: slice | Tensor) -> Truth:
        """The truth of some of the images."""
        return Truth(
            None if self.mask is None else self.mask[which],
            None if self.depth is None else self.depth[which],
        )


@dataclass(frozen=True, eq=False)
class SceneSet:
    """One split in memory, on one device.

    Attributes:
        images: uint8 `(n, c, h, w)`.
        masks: uint8 `(n, H, W)`, `VOID` where a pixel has no class; None without masks.
        depths: int16 `(n, H, W)` millimetres, 0 where unknown; None without depths.

    Truth may be larger than the images: a net may see a reduced image and still be judged at full size.
    """

    images: Tensor
    masks: Tensor | None
    depths: Tensor | None

    def __post_init__(self) -> None:
        """Refuse tensors that are not what the rest of the package relies on."""
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (n, c, h, w), got {self.images.dtype} {tuple(self.images.shape)}"
            )
        known = [
            (name, tensor, dtype)
            for name, tensor, dtype in (
                ("masks", self.masks, torch.uint8),
                ("depths", self.depths, torch.int16),
            )
            if tensor is not None
        ]
        if not known:
            raise ValueError("scenes need masks, depths or both")
        for name, tensor, dtype in known:
            if tensor.dtype != dtype or tensor.ndim != 3 or len(tensor) != len(self.images):
                raise ValueError(
                    f"{name} must be {dtype} ({len(self.images)}, H, W), got {tensor.dtype} "
                    f"{tuple(tensor.shape)}"
                )
        if len({tensor.shape for _, tensor, _ in known}) > 1:
            raise ValueError("masks and depths must be of one size")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for color."""
        return self.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def truth_size(self) -> tuple[int, int]:
        """Height and width of masks and depths, in pixels."""
        known = _first_known(self.masks, self.depths)
        return known.shape[1], known.shape[2]

    def subset(self, indices: Tensor | Sequence[int]) -> SceneSet:
        """The scenes at `indices`, in that order."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.images.device)
        return SceneSet(
            self.images[index],
            None if self.masks is None else self.masks[index],
            None if self.depths is None else self.depths[index],
        )

    def to(self, device: torch.device | str) -> SceneSet:
        """The same split on another device."""
        return SceneSet(
            self.images.to(device),
            None if self.masks is None else self.masks.to(device),
            None if self.depths is None else self.depths.to(device),
        )

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Truth]]:
        """Images uint8 `(b, c, h, w)` and their truth for each int64 index tensor of `order`."""
        for indices in order:
            index = indices.to(self.images.device)
            yield (
                self.images[index],
                Truth(
                    None if self.masks is None else self.masks[index].long(),
                    None if self.depths is None else self.depths[index].float() / MILLIMETRES,
                ),
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneData:
    """A data set for dense prediction.

    Attributes:
        name: what it was asked for by.
        train: the scenes to learn from; truth is of the images' size.
        test: the scenes to be judged on; truth is of the stored size, whatever the images' size.
        classes: names, in the order of the masks' labels; empty without masks.
        mean: per channel, of the train pixels in [0, 1].
        std: per channel, of the train pixels in [0, 1]; population, not sample.
        crop: part of the truth that is judged: top, bottom, left and right as shares of height and
            width; None judges everything.
        note: what a reader of the results should know about this copy; empty when nothing.
    """

    name: str
    train: SceneSet
    test: SceneSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: tuple[float, float, float, float] | None = None
    note: str = ""

    @property
    def channels(self) -> int:
        """1 for grey, 3 for color."""
        return self.train.channels

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return self.train.image_size

    def to(self, device: torch.device | str) -> SceneData:
        """The same data set with both splits on another device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def _first_known(masks: Tensor | None, depths: Tensor | None) -> Tensor:
    known = depths if masks is None else masks
    assert known is not None
    return known
