"""Seeded, class-balanced splits."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from bitlens.errors import BitlensError


def hold_out(labels: Tensor, fraction: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Split the rows into train and validation, with the same fraction taken from every class.

    Args:
        labels: int64 `(n,)`.
        fraction: of each class that goes to validation, in (0, 1); rounded to whole images, and
            at least one image of each class stays in train.
        generator: draws which ones; the same state gives the same split.

    Returns:
        `(train, validation)`: int64 indices, each in rising order, together all rows once.

    Raises:
        BitlensError: `fraction` is outside (0, 1), or too small to hold out a single image.
    """
    if not 0 < fraction < 1:
        raise BitlensError(f"the fraction to hold out must be between 0 and 1, got {fraction}")
    labels = labels.cpu()
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        rows = torch.nonzero(labels == label).flatten()
        draw = torch.randperm(len(rows), generator=generator, device=generator.device).cpu()
        count = min(round(fraction * len(rows)), len(rows) - 1)
        held[rows[draw[:count]]] = True
    if not held.any():
        raise BitlensError(
            f"holding out {fraction} of {len(labels)} images in {len(labels.unique())} classes "
            "leaves none; give a larger fraction or more images"
        )
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
