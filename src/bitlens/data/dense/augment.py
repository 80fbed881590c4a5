"""Batched augmentation of scenes: image, mask and depth move together.

Each function takes uint8 images `(n, c, h, w)`, their truth of the same size and a generator, and returns
both in the same shapes and types. As in `bitlens.data.augment`, what is random is drawn for the whole
batch at once on the generator's device, and no image's result depends on another image. Masks and depths
are gathered, never interpolated: no class and no depth comes out that did not go in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Generator, Tensor

from bitlens.data.augment import draw_flips, resize_boxes
from bitlens.data.dense.scenes import Truth

MAX_SCALE = 1.5
"""How much larger than stored a scene is shown at most."""

LIGHT = 0.25
"""Brightness and contrast are multiplied by up to this much more or less than 1."""

TINT = 0.1
"""Each channel is multiplied by up to this much more or less than 1."""


def keep(images: Tensor, truth: Truth, generator: Generator) -> tuple[Tensor, Truth]:
    """No augmentation; draws nothing."""
    return images, truth


def flip(images: Tensor, truth: Truth, generator: Generator) -> tuple[Tensor, Truth]:
    """Mirror each scene left-right with probability 1/2."""
    _check_sizes(images, truth)
    mirrored = draw_flips(len(images), generator).to(images.device)

    def mirror(values: Tensor) -> Tensor:
        which = mirrored.view(-1, *[1] * (values.ndim - 1))
        return torch.where(which, values.flip(-1), values)

    return mirror(images), _each(truth, mirror, mirror)


def scale_crop(images: Tensor, truth: Truth, generator: Generator) -> tuple[Tensor, Truth]:
    """Show a random part of each scene 1 to `MAX_SCALE` times as large, mirror half of them.

    Depths are divided by the scale, since what looks larger is nearer (Eigen, Puhrsch and Fergus, NIPS
    2014). Images are bilinear, rounded to the nearest integer.
    """
    _check_sizes(images, truth)
    n, _, h, w = images.shape
    boxes = draw_parts(n, h, w, generator).to(images.device)
    mirrored = draw_flips(n, generator).to(images.device)
    return resize_boxes(images, boxes, mirrored), move_truth(truth, boxes, mirrored)


def scale_crop_color(images: Tensor, truth: Truth, generator: Generator) -> tuple[Tensor, Truth]:
    """`scale_crop`, then another brightness, contrast and tint for each image."""
    images, truth = scale_crop(images, truth, generator)
    return jitter(images, generator), truth


SCENE_AUGMENTATIONS: Mapping[str, Callable[[Tensor, Truth, Generator], tuple[Tensor, Truth]]] = (
    MappingProxyType(
        {
            "none": keep,
            "flip": flip,
            "scale-crop": scale_crop,
            "scale-crop-color": scale_crop_color,
        }
    )
)


def draw_parts(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Parts `(n, 4)` int64 as top, left, height, width, of the aspect of the whole up to rounding."""
    draws = torch.rand((3, n), generator=generator, device=generator.device, dtype=torch.float64)
    scale = 1 + (MAX_SCALE - 1) * draws[0]
    h, w = ((side / scale).round().clamp(min=1) for side in (height, width))
    top, left = (draws[1] * (height - h + 1)).floor(), (draws[2] * (width - w + 1)).floor()
    return torch.stack([top, left, h, w], 1).long()


def move_truth(truth: Truth, boxes: Tensor, mirrored: Tensor) -> Truth:
    """What `resize_boxes` does to images, done to their truth by nearest neighbour.

    Args:
        truth: of n images.
        boxes: `(n, 4)` int64 top, left, height, width of the part that fills the image afterwards.
        mirrored: bool `(n,)`.

    Returns:
        Truth of the same shape; depths divided by the scale of their part, the geometric mean of both
        axes where rounding made them differ.
    """
    _, height, width = truth.known.shape
    top, left, h, w = boxes.unbind(1)
    rows = _nearest(top, h, height)
    columns = _nearest(left, w, width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    cells = rows[:, :, None] * width + columns[:, None, :]
    scale = ((height * width) / (h * w).double()).sqrt().float()

    def gather(values: Tensor) -> Tensor:
        return values.flatten(1).gather(1, cells.flatten(1)).view_as(values)

    return _each(truth, gather, lambda depth: gather(depth) / scale[:, None, None])


def jitter(images: Tensor, generator: Generator) -> Tensor:
    """Brightness, contrast about the image's own mean, and a gain for each channel, drawn per image."""
    n, channels = images.shape[:2]
    draws = torch.rand((2 + channels, n), generator=generator, device=generator.device)
    around_one = (2 * draws - 1).to(images.device)
    brightness, contrast = 1 + LIGHT * around_one[:2]
    gain = (1 + TINT * around_one[2:]).T * brightness[:, None]
    values = images.float() * gain[:, :, None, None]
    mean = values.mean((1, 2, 3), keepdim=True)
    values = mean + (values - mean) * contrast[:, None, None, None]
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _nearest(start: Tensor, extent: Tensor, size: int) -> Tensor:
    """Source pixels `(n, size)` under the centers of `size` pixels that fill `extent` from `start`."""
    centers = 2 * torch.arange(size, device=start.device) + 1
    return start[:, None] + torch.div(centers * extent[:, None], 2 * size, rounding_mode="floor")


def _each(
    truth: Truth, mask: Callable[[Tensor], Tensor], depth: Callable[[Tensor], Tensor]
) -> Truth:
    return Truth(
        None if truth.mask is None else mask(truth.mask),
        None if truth.depth is None else depth(truth.depth),
    )


def _check_sizes(images: Tensor, truth: Truth) -> None:
    for known in (truth.mask, truth.depth):
        if known is not None and known.shape != (len(images), *images.shape[2:]):
            raise ValueError(
                f"truth of the shape {tuple(known.shape)} cannot move with images of the shape "
                f"{tuple(images.shape)}; both must be of one size"
            )
