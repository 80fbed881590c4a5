"""From scenes one after another to a `SceneSet`, and from two of those to a `SceneData`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from bitlens.data.dense.decode import Scene, shape_for
from bitlens.data.dense.scenes import SceneData, SceneSet
from bitlens.data.moments import channel_moments
from bitlens.errors import BitlensError


def stack_scenes(
    scenes: Iterable[Scene],
    count: int,
    *,
    where: Callable[[int], str],
    image_size: int | None,
    resize_truth: bool,
    memory_limit: int,
) -> SceneSet:
    """All scenes of a split in memory.

    Args:
        scenes: `count` of them, as stored; taken one by one.
        count: how many will come.
        where: says in words where scene `i` is stored, for errors.
        image_size: shorter side of the images in pixels; None keeps the stored size.
        resize_truth: bring masks and depths to the images' size, as for training; else they stay as
            stored, as for judging.
        memory_limit: bytes that the split may take.

    Raises:
        BitlensError: there is none, they differ in size, one lacks what the first has, grey and color
            are mixed, or all of them are larger than `memory_limit`; the scene is named.
    """
    parts: _Parts | None = None
    at = 0
    for at, scene in enumerate(scenes, 1):
        if parts is None:
            parts = _Parts(scene, count, image_size, resize_truth)
            parts.check_memory(memory_limit, where(0))
        parts.put(at - 1, scene, where)
    if parts is None or at != count:
        raise BitlensError(f"{at} of {count} scenes came from {where(0)} and on")
    return parts.whole()


def finish_scenes(
    name: str,
    train: SceneSet,
    test: SceneSet,
    *,
    classes: tuple[str, ...],
    crop: tuple[float, float, float, float] | None = None,
    notes: Sequence[str] = (),
) -> SceneData:
    """Check that both splits fit together and add the moments of the train pixels.

    Raises:
        BitlensError: the splits differ in channels, image size, or in what is known of the pixels, or
            there are masks and fewer than two classes.
    """
    if (train.channels, train.image_size) != (test.channels, test.image_size):
        raise BitlensError(
            f"{name}: train {_told(train)}, test {_told(test)}; bring both to one form"
        )
    for kind in ("masks", "depths"):
        if (getattr(train, kind) is None) != (getattr(test, kind) is None):
            raise BitlensError(f"{name}: one of train and test has {kind}, the other has none")
    if train.masks is not None and len(classes) < 2:
        raise BitlensError(f"{name} has masks of {len(classes)} classes; give it at least two")
    mean, std = channel_moments(train.images)
    if not any(std):
        raise BitlensError(f"{name}: all train pixels are equal, there is nothing to learn from")
    flat = ", ".join(str(channel) for channel, value in enumerate(std) if value == 0)
    said = [f"channel {flat} is constant, its std is taken as 1"] if flat else []
    return SceneData(
        name=name,
        train=train,
        test=test,
        classes=classes if train.masks is not None else (),
        mean=mean,
        std=tuple(value or 1.0 for value in std),
        crop=crop,
        note="; ".join([*notes, *said]),
    )


class _Parts:
    """The tensors of a split while they fill."""

    def __init__(
        self, first: Scene, count: int, image_size: int | None, resize_truth: bool
    ) -> None:
        self.image_size, self.resize_truth = image_size, resize_truth
        self.stored, self.mode = first.size, first.image.mode
        self.shapes = shape, truth = self._shapes(first.size)
        channels = 1 if self.mode == "L" else 3
        self.images = np.empty((count, channels, *shape), np.uint8)
        self.masks = None if first.mask is None else np.empty((count, *truth), np.uint8)
        self.depths = None if first.depth is None else np.empty((count, *truth), np.int16)

    def check_memory(self, limit: int, first: str) -> None:
        known = (self.images, self.masks, self.depths)
        needed = sum(part.nbytes for part in known if part is not None)
        if needed > limit:
            raise BitlensError(
                f"{len(self.images)} scenes like {first} take {needed / 2**30:.1f} GiB, more than the "
                f"limit of {limit / 2**30:.1f} GiB; give a smaller image_size, or fewer scenes"
            )

    def put(self, at: int, scene: Scene, where: Callable[[int], str]) -> None:
        stored = scene.size
        if self._shapes(stored) != self.shapes:
            raise BitlensError(
                f"{where(at)} is {stored[1]}x{stored[0]} pixels but {where(0)} is "
                f"{self.stored[1]}x{self.stored[0]}; the scenes of a split need one size"
            )
        if scene.image.mode != self.mode:
            raise BitlensError(
                f"{where(at)} is of mode {scene.image.mode} but {where(0)} of mode {self.mode}; "
                "convert all images to one"
            )
        scene = scene.resized(self.image_size, truth=self.resize_truth)
        pixels = np.asarray(scene.image)
        self.images[at] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        for kind, whole, own in (
            ("mask", self.masks, scene.mask),
            ("depth", self.depths, scene.depth),
        ):
            if (whole is None) != (own is None):
                has, lacks = (where(at), where(0)) if whole is None else (where(0), where(at))
                raise BitlensError(f"{lacks} has no {kind}, while {has} has one")
            if whole is not None and own is not None:
                whole[at] = own

    def _shapes(self, stored: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        shape = shape_for(stored, self.image_size)
        return shape, shape if self.resize_truth else stored

    def whole(self) -> SceneSet:
        return SceneSet(
            torch.from_numpy(self.images),
            None if self.masks is None else torch.from_numpy(self.masks),
            None if self.depths is None else torch.from_numpy(self.depths),
        )


def _told(scenes: SceneSet) -> str:
    height, width = scenes.image_size
    return f"has {scenes.channels} channels of {width}x{height} pixels"
