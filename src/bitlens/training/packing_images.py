"""The images that the packer of a trained net is given: some to compare on, some to calibrate with."""

from __future__ import annotations

import torch
from torch import Tensor

from bitlens.training.feed import Feed

CALIBRATION = 256
"""Training images from which the int8 layers take their ranges."""


def compared_images(feed: Feed, count: int) -> Tensor:
    """The first `count` held-out images, normalised, (n, c, h, w), or all where there are fewer."""
    batches, held = [], 0
    for images, _ in feed.evaluation(feed.held):
        batches.append(images)
        held += len(images)
        if held >= count:
            break
    return torch.cat(batches)[:count]


def calibration_images(feed: Feed) -> list[Tensor]:
    """The first training images of the feed's calibration batches, `CALIBRATION` of them at most."""
    taken, left = [], CALIBRATION
    for batch in feed.calibration():
        taken.append(batch[:left])
        left -= len(taken[-1])
        if left == 0:
            break
    return taken
