"""Batches for training and evaluation: order, augmentation and the share of each process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.data import load
from bitlens.data.augment import AUGMENTATIONS
from bitlens.data.disk import DiskImageSet
from bitlens.data.images import ImageData, ImageSet
from bitlens.data.normalize import normalize
from bitlens.data.split import hold_out
from bitlens.errors import BitlensError, unknown
from bitlens.objectives.gather import world
from bitlens.training.recipe import Recipe
from bitlens.training.streams import Streams, seed_for

Images = ImageSet | DiskImageSet

CALIBRATION_IMAGES = 2048
"""Training images from which the final batch-norm statistics are estimated."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """This process's share of one batch: normalised images, labels, training-set positions."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class Feed:
    """The data of one recipe, ready to iterate."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        if recipe.augment not in AUGMENTATIONS:
            raise unknown("augmentation", recipe.augment, AUGMENTATIONS)
        self.data: ImageData = load(recipe.data, image_size=recipe.image_size or None)
        self.recipe, self.device = recipe, device
        train: Images = self.data.train
        train = _subset(train, recipe.train_images)
        self.eval_split = "test"
        held: Images = self.data.test
        if recipe.validation:
            # A fixed split: the same images are held out for every seed, so seeds stay comparable.
            source = torch.Generator().manual_seed(seed_for(0, "validation"))
            kept, out = hold_out(train.labels, recipe.validation, source)
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
        augment = AUGMENTATIONS[self.recipe.augment]
        for indices, (images, labels) in zip(batches, self.train.batches(batches), strict=True):
            augmented = augment(images, streams["augmentation"])
            yield Batch(
                images=self._normalized(augmented[mine]),
                labels=labels[mine],
                indices=indices[mine].to(self.device),
            )

    def calibration(self) -> list[Tensor]:
        """Augmented training images for batch-norm statistics, the same in every process.

        Drawn from a stream of their own, so that a resumed run gets the same ones.
        """
        source = torch.Generator().manual_seed(seed_for(self.recipe.seed, "calibration"))
        order = torch.randperm(len(self.train), generator=source)[:CALIBRATION_IMAGES]
        augment = AUGMENTATIONS[self.recipe.augment]
        return [
            self._normalized(augment(images, source))
            for images, _ in self.train.batches(order.split(256))
        ]

    def evaluation(self, images: Images) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of `images` in order, (normalised images, labels)."""
        rank, processes = world()
        order = torch.arange(len(images))[rank::processes]
        for pixels, labels in images.batches(order.split(512)):
            yield self._normalized(pixels), labels

    def _normalized(self, images: Tensor) -> Tensor:
        return normalize(images, self.data.mean, self.data.std)


def _subset(images: Images, wanted: int) -> Images:
    if wanted in (0, len(images)):
        return images
    classes = len(images.labels.unique())
    if not classes <= wanted < len(images):
        raise BitlensError(
            f"recipe: train_images={wanted}, but there are {len(images)} images of {classes} classes; "
            f"give a number from {classes} to {len(images)}, or 0 for all"
        )
    source = torch.Generator().manual_seed(seed_for(0, "subset"))
    _, taken = hold_out(images.labels, wanted / len(images), source)
    return images.subset(taken)
