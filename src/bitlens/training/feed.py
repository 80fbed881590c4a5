"""Batches for training and evaluation: order, augmentation and the share of each process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from bitlens.data import load, load_scenes
from bitlens.data.augment import AUGMENTATIONS
from bitlens.data.dense.augment import SCENE_AUGMENTATIONS
from bitlens.data.dense.scenes import VOID, SceneData, SceneSet, Truth
from bitlens.data.disk import DiskImageSet
from bitlens.data.images import ImageData, ImageSet
from bitlens.data.normalize import normalize
from bitlens.data.split import hold_out
from bitlens.errors import BitlensError, unknown
from bitlens.objectives.gather import world
from bitlens.tasks.crop import crop_window
from bitlens.training.recipe import Recipe
from bitlens.training.streams import Streams, seed_for

Images = ImageSet | DiskImageSet | SceneSet
"""One split; its batches are images and their truth."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """This process's share of one batch: normalised images, their truth, training-set positions."""

    images: Tensor
    truth: Any
    """What the task compares with: labels (n,), or the `Truth` of scenes."""
    indices: Tensor


class Feed:
    """The data of one recipe, ready to iterate; here of images that have one class each."""

    augmentations: ClassVar[Mapping[str, Any]] = AUGMENTATIONS
    calibration_images = 2048
    """Training images from which the final batch-norm statistics are estimated."""
    evaluated_together = 512
    """Images of a batch of evaluation."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        if recipe.augment not in self.augmentations:
            raise unknown("augmentation", recipe.augment, self.augmentations)
        self.data = self._load(recipe)
        self.recipe, self.device = recipe, device
        train: Images = self.data.train
        if recipe.train_images not in (0, len(train)):
            train = train.subset(self._take(train, recipe.train_images))
        self.eval_split = "test"
        held: Images = self.data.test
        if recipe.validation:
            # A fixed split: the same images are held out for every seed, so seeds stay comparable.
            source = torch.Generator().manual_seed(seed_for(0, "validation"))
            kept, out = self._hold_out(train, recipe.validation, source)
            train, held, self.eval_split = train.subset(kept), train.subset(out), "validation"
        self.train, self.held, self.test = (s.to(device) for s in (train, held, self.data.test))
        if len(self.train) < recipe.batch_size:
            raise BitlensError(
                f"recipe: batch_size={recipe.batch_size} exceeds the {len(self.train)} training images"
            )
        _, processes = world()
        if recipe.batch_size % processes:
            raise BitlensError(
                f"recipe: batch_size={recipe.batch_size} does not divide among {processes} processes"
            )

    def _load(self, recipe: Recipe) -> ImageData | SceneData:
        return load(recipe.data, image_size=recipe.image_size or None)

    def _take(self, images: Any, wanted: int) -> Tensor:
        """Positions of about `wanted` images, the same share of every class."""
        classes = len(images.labels.unique())
        if not classes <= wanted < len(images):
            raise BitlensError(
                f"recipe: train_images={wanted}, but there are {len(images)} images of {classes} "
                f"classes; give a number from {classes} to {len(images)}, or 0 for all"
            )
        source = torch.Generator().manual_seed(seed_for(0, "subset"))
        return hold_out(images.labels, wanted / len(images), source)[1]

    def _hold_out(self, images: Any, share: float, source: Generator) -> tuple[Tensor, Tensor]:
        """Positions of the images that stay in training and of those held out."""
        return hold_out(images.labels, share, source)

    def _augment(self, images: Tensor, truth: Any, source: Generator) -> tuple[Tensor, Any]:
        return AUGMENTATIONS[self.recipe.augment](images, source), truth

    @property
    def steps(self) -> int:
        """Steps per epoch; a last incomplete batch is left out."""
        return len(self.train) // self.recipe.batch_size

    def epoch(self, streams: Streams) -> Iterator[Batch]:
        """One shuffled, augmented pass over the training images.

        The order and the augmentation are drawn for whole batches and then cut, so that several
        processes see exactly what one would.
        """
        rank, processes = world()
        size = self.recipe.batch_size
        share = size // processes
        mine = slice(rank * share, (rank + 1) * share)
        order = torch.randperm(len(self.train), generator=streams["order"])
        batches = [order[i * size : (i + 1) * size] for i in range(self.steps)]
        for indices, (stored, known) in zip(batches, self.train.batches(batches), strict=True):
            images, truth = self._augment(stored, known, streams["augmentation"])
            yield Batch(
                images=self._normalized(images[mine]),
                truth=truth[mine],
                indices=indices[mine].to(self.device),
            )

    def calibration(self) -> list[Tensor]:
        """Augmented training images for batch-norm statistics, the same in every process.

        Drawn from a stream of their own, so that a resumed run gets the same ones.
        """
        source = torch.Generator().manual_seed(seed_for(self.recipe.seed, "calibration"))
        order = torch.randperm(len(self.train), generator=source)[: self.calibration_images]
        return [
            self._normalized(self._augment(images, truth, source)[0])
            for images, truth in self.train.batches(order.split(self.evaluated_together // 2))
        ]

    def evaluation(self, images: Images) -> Iterator[tuple[Tensor, Any]]:
        """This process's share of `images` in order, (normalised images, truth)."""
        rank, processes = world()
        order = torch.arange(len(images))[rank::processes]
        for pixels, truth in images.batches(order.split(self.evaluated_together)):
            yield self._normalized(pixels), truth

    def example(self) -> Tensor:
        """The first held-out image, normalised, (1, c, h, w); the same in every process."""
        pixels, _ = next(iter(self.held.batches([torch.zeros(1, dtype=torch.int64)])))
        return self._normalized(pixels)

    def _normalized(self, images: Tensor) -> Tensor:
        return normalize(images, self.data.mean, self.data.std)


class SceneFeed(Feed):
    """The data of one dense recipe: whole maps are the truth, and no image has a class.

    Raises:
        BitlensError: also where a split has no known pixel that the task could learn from or be judged on.
    """

    augmentations: ClassVar[Mapping[str, Any]] = SCENE_AUGMENTATIONS
    calibration_images = 256
    evaluated_together = 16

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__(recipe, device)
        assert isinstance(self.data, SceneData)
        for split, scenes, crop in (
            ("train", self.train, None),
            (self.eval_split, self.held, self.data.crop),
            ("test", self.test, self.data.crop),
        ):
            assert isinstance(scenes, SceneSet)
            here = (slice(None), *crop_window(crop, scenes.truth_size))
            for task, truth, nothing in (
                ("segment", scenes.masks, VOID),
                ("depth", scenes.depths, 0),
            ):
                if task in recipe.task and truth is not None and not (truth[here] != nothing).any():
                    raise BitlensError(
                        f"recipe: no pixel of the {split} scenes of {recipe.data} has a "
                        f"{'class' if task == 'segment' else 'depth'}; check the files, or take more scenes"
                    )

    def _load(self, recipe: Recipe) -> SceneData:
        data = load_scenes(recipe.data, image_size=recipe.image_size or None)
        for task, known in (("segment", data.train.masks), ("depth", data.train.depths)):
            if task in recipe.task and known is None:
                has = "masks" if task == "depth" else "depths"
                raise BitlensError(
                    f"recipe: task={recipe.task!r}, but {recipe.data} has only {has}; use "
                    f"task={'segment' if task == 'depth' else 'depth'!r}, or another data set"
                )
        return data

    def _take(self, images: SceneSet, wanted: int) -> Tensor:
        if not 1 <= wanted < len(images):
            raise BitlensError(
                f"recipe: train_images={wanted}, but there are {len(images)} scenes; give a number from "
                f"1 to {len(images)}, or 0 for all"
            )
        source = torch.Generator().manual_seed(seed_for(0, "subset"))
        return torch.randperm(len(images), generator=source)[:wanted].sort().values

    def _hold_out(self, images: SceneSet, share: float, source: Generator) -> tuple[Tensor, Tensor]:
        count = round(share * len(images))
        if not 0 < count < len(images):
            raise BitlensError(
                f"recipe: validation={share} holds out {count} of {len(images)} scenes; give another share"
            )
        order = torch.randperm(len(images), generator=source)
        return order[count:].sort().values, order[:count].sort().values

    def _augment(self, images: Tensor, truth: Truth, source: Generator) -> tuple[Tensor, Truth]:
        return SCENE_AUGMENTATIONS[self.recipe.augment](images, truth, source)


def make_feed(recipe: Recipe, device: torch.device) -> Feed:
    """The data of a recipe, of images or of scenes as its task asks."""
    return (Feed if recipe.task == "classify" else SceneFeed)(recipe, device)
