"""From scenes one after another to a `SceneSet`, and from two of those to a `SceneData`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod

import numpy as np
import torch

from bitlens.data.dense.decode import Scene, shape_for
from bitlens.data.dense.pictures import FARTHEST
from bitlens.data.dense.scenes import MILLIMETRES, SceneData, SceneSet
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
            parts = _Parts(scene, count, image_size, resize_truth, memory_limit, where(0))
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

    The note tells of depths beyond the farthest that predictions are clamped to.

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
    said += _far_depths(train, test)
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
        self,
        first: Scene,
        count: int,
        image_size: int | None,
        resize_truth: bool,
        memory_limit: int,
        where: str,
    ) -> None:
        self.image_size, self.resize_truth = image_size, resize_truth
        self.stored, self.mode = first.size, first.image.mode
        self.shapes = shape, truth = self._shapes(first.size)
        channels = 1 if self.mode == "L" else 3
        pixels, planes = (count, channels, *shape), (count, *truth)
        needed = prod(pixels) * np.dtype(np.uint8).itemsize
        for known in (first.mask, first.depth):
            needed += 0 if known is None else prod(planes) * known.dtype.itemsize
        if needed > memory_limit:
            raise BitlensError(
                f"{count} scenes like {where} take {needed / 2**30:.1f} GiB, more than the limit of "
                f"{memory_limit / 2**30:.1f} GiB; give a smaller image_size, or fewer scenes"
            )
        self.images = np.empty(pixels, np.uint8)
        self.masks = None if first.mask is None else np.empty(planes, np.uint8)
        self.depths = None if first.depth is None else np.empty(planes, np.int16)

    def put(self, at: int, scene: Scene, where: Callable[[int], str]) -> None:
        stored = scene.size
        if self._shapes(stored) != self.shapes:
            raise BitlensError(
                f"{where(at)} is {stored[1]}x{stored[0]} pixels but {where(0)} is "
                f"{self.stored[1]}x{self.stored[0]}; {self._way_to_one_size()}"
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

    def _way_to_one_size(self) -> str:
        if not self.resize_truth:
            return (
                "a test split is judged at its stored size, whatever image_size is; bring its scenes to "
                "one size yourself, images and truth (with image_size, those of train may differ)"
            )
        way = (
            "give image_size, which brings scenes of one aspect to one size"
            if self.image_size is None
            else f"image_size={self.image_size} keeps their aspects, which differ; cut them to one"
        )
        return f"the scenes of a split need one size; {way}"

    def _shapes(self, stored: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        shape = shape_for(stored, self.image_size)
        return shape, shape if self.resize_truth else stored

    def whole(self) -> SceneSet:
        return SceneSet(
            torch.from_numpy(self.images),
            None if self.masks is None else torch.from_numpy(self.masks),
            None if self.depths is None else torch.from_numpy(self.depths),
        )


def _far_depths(train: SceneSet, test: SceneSet) -> list[str]:
    """What to say of depths that no prediction reaches; nothing where there are none."""
    shares = {"train": _far_share(train), "test": _far_share(test)}
    if not any(shares.values()):
        return []
    told = " and ".join(f"{100 * share:.3g}% in {split}" for split, share in shares.items())
    return [f"of the known depths, {told} are beyond {FARTHEST:g} m, where predictions are clamped"]


def _far_share(scenes: SceneSet) -> float:
    """Share of the known depths that are beyond `FARTHEST`; 0 without depths."""
    if scenes.depths is None:
        return 0.0
    far = known = 0
    # A part at a time: what is compared would be as large as the depths.
    for part in scenes.depths.split(64):
        far += int((part > FARTHEST * MILLIMETRES).sum())
        known += int((part > 0).sum())
    return far / known if known else 0.0


def _told(scenes: SceneSet) -> str:
    height, width = scenes.image_size
    return f"has {scenes.channels} channels of {width}x{height} pixels"
