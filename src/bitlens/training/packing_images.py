"""The images that the packer of a trained net is given: some to compare on, some to calibrate with.

Scenes may be packed at another size than the run's. They are then read again, as large as that size needs,
and laid into its frame as pictures are that a packed net answers.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.data.dense.scenes import SceneData
from bitlens.data.normalize import normalize
from bitlens.data.pixels import fitting
from bitlens.errors import BitlensError
from bitlens.training.feed import Feed, make_feed
from bitlens.training.recipe import Recipe

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
        size: of the net's images; None keeps theirs.
    """
    count = count or _few(feed, size, COMPARED, COMPARED_PIXELS)
    batches, held = [], 0
    for images, _ in feed.evaluation(feed.held):
        batches.append(_framed(images[: count - held], feed, size))
        held += len(batches[-1])
        if held >= count:
            break
    return torch.cat(batches)


def calibration_images(feed: Feed, size: Size | None = None) -> list[Tensor]:
    """The first training images of the feed's calibration batches, `CALIBRATION` of them at most.

    Args:
        feed: of the run.
        size: of the net's images; None keeps theirs.
    """
    taken, left = [], _few(feed, size, CALIBRATION, CALIBRATION_PIXELS)
    for batch in feed.calibration():
        taken.append(_framed(batch[:left], feed, size))
        left -= len(taken[-1])
        if left == 0:
            break
    return taken


def feed_at(recipe: Recipe, size: Size | None) -> Feed:
    """The feed of a run, its images as large as nets of another size need them.

    The moments of the pixels stay those of the images that the run's net was trained on.

    Args:
        recipe: of the run.
        size: of the net's images; None keeps those of the recipe.
    """
    own = make_feed(recipe, torch.device("cpu"))
    if size is None or size == own.data.image_size:
        return own
    feed = make_feed(replace(recipe, image_size=min(size)), torch.device("cpu"))
    feed.data = replace(feed.data, mean=own.data.mean, std=own.data.std)
    return feed


def scaled(pixels: Tensor, size: Size) -> Tensor:
    """Images scaled until they just fit into a size, their aspect kept: bilinear, antialiased.

    Args:
        pixels: uint8 (n, c, h, w).
        size: height and width that they have to fit into.

    Returns:
        uint8 (n, c, h', w'), where h' or w' is that of `size`.

    Raises:
        BitlensError: images so long that their other side would vanish.
    """
    inside = fitting((pixels.shape[2], pixels.shape[3]), size)
    if min(inside) < 1:
        raise BitlensError(
            f"pack: images of {pixels.shape[2]}x{pixels.shape[3]} leave no row or column at "
            f"size={size[0]}x{size[1]}; give a size nearer to their aspect"
        )
    if inside == tuple(pixels.shape[2:]):
        return pixels
    return F.interpolate(pixels, inside, mode="bilinear", align_corners=False, antialias=True)


def filled(images: Tensor, size: Size) -> Tensor:
    """Images (n, c, h, w) filled up to a size: the last row and column are repeated.

    So is a picture of another aspect when a packed net answers it.
    """
    missing = size[0] - images.shape[2], size[1] - images.shape[3]
    return (
        F.pad(images, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else images
    )


def _framed(images: Tensor, feed: Feed, size: Size | None) -> Tensor:
    """Normalised images in a net's frame, still those of bytes."""
    if size is None or size == tuple(images.shape[2:]):
        return images
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (feed.data.mean, feed.data.std))
    pixels = (255 * (images * std + mean)).round().clamp(0, 255).byte()
    return filled(normalize(scaled(pixels, size), feed.data.mean, feed.data.std), size)


def _few(feed: Feed, size: Size | None, most: int, pixels: int) -> int:
    if not isinstance(feed.data, SceneData):
        return most
    height, width = size or feed.data.image_size
    return max(1, min(most, pixels // (height * width)))
