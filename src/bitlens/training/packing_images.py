"""The images that the packer of a trained net is given: some to compare on, some to calibrate with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.data.dense.scenes import SceneData
from bitlens.data.normalize import normalize
from bitlens.training.feed import Feed

CALIBRATION = 256
"""Training images from which the int8 layers take their ranges."""

CALIBRATION_PIXELS = 1 << 24
"""Pixels that such scenes may have together: 54 scenes of 480x640."""

COMPARED = 256
"""Images on which all signs are compared."""

COMPARED_PIXELS = 1 << 22
"""Pixels that such scenes may have together: 13 scenes of 480x640, a minute of work."""

Size = tuple[int, int]
"""Height and width in pixels."""


def compared_images(feed: Feed, count: int, size: Size | None = None) -> Tensor:
    """The first held-out images, normalised, (n, c, h, w), or all where there are fewer.

    Args:
        feed: of the run.
        count: how many; 0 takes `COMPARED`, or fewer scenes.
        size: to bring them to; None keeps theirs.
    """
    count = count or _few(feed, size, COMPARED, COMPARED_PIXELS)
    batches, held = [], 0
    for images, _ in feed.evaluation(feed.held):
        batches.append(resized(images[: count - held], feed, size))
        held += len(batches[-1])
        if held >= count:
            break
    return torch.cat(batches)


def calibration_images(feed: Feed, size: Size | None = None) -> list[Tensor]:
    """The first training images of the feed's calibration batches, `CALIBRATION` of them at most."""
    taken, left = [], _few(feed, size, CALIBRATION, CALIBRATION_PIXELS)
    for batch in feed.calibration():
        taken.append(resized(batch[:left], feed, size))
        left -= len(taken[-1])
        if left == 0:
            break
    return taken


def resized(images: Tensor, feed: Feed, size: Size | None) -> Tensor:
    """Normalised images at another size, still those of bytes.

    Bilinear and antialiased, as pictures of another size are read; the aspect is not kept.
    """
    if size is None or size == tuple(images.shape[2:]):
        return images
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (feed.data.mean, feed.data.std))
    levels = 255 * (images * std + mean)
    levels = F.interpolate(levels, size, mode="bilinear", align_corners=False, antialias=True)
    return normalize(levels.round().clamp(0, 255).byte(), feed.data.mean, feed.data.std)


def _few(feed: Feed, size: Size | None, most: int, pixels: int) -> int:
    if not isinstance(feed.data, SceneData):
        return most
    height, width = size or feed.data.image_size
    return max(1, min(most, pixels // (height * width)))
