"""Batched augmentation of uint8 images, on the device they are on.

Each function takes uint8 images `(n, c, h, w)` and a generator and returns images of the same shape
and type. What is random is drawn for the whole batch at once, on the generator's device, so with a
generator on the CPU the draws are the same wherever the images are, and a rank that takes its slice
of the result sees what a single process would. All but `resized-crop` move bytes and are exact;
`resized-crop` interpolates in float32 and may round a value differently on another device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

PAD = 4
"""Zero pixels added on each side before a random crop."""

_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_ATTEMPTS = 10


def keep(images: Tensor, generator: Generator) -> Tensor:
    """No augmentation; draws nothing."""
    return images


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left-right with probability 1/2."""
    mirrored = draw_flips(len(images), generator).to(images.device)
    which = torch.arange(len(images), device=images.device) + len(images) * mirrored
    return torch.cat([images, images.flip(3)]).index_select(0, which)


def crop(images: Tensor, generator: Generator) -> Tensor:
    """Pad by `PAD` zero pixels and cut a window of the original size at a random place."""
    top, left = draw_offsets(len(images), generator)
    return _windows(F.pad(images, (PAD,) * 4), images.shape[2], images.shape[3], top, left)


def flip_crop(images: Tensor, generator: Generator) -> Tensor:
    """Mirror with probability 1/2, then pad and crop; the usual augmentation of CIFAR."""
    mirrored = draw_flips(len(images), generator)
    top, left = draw_offsets(len(images), generator)
    n, c, h, w = images.shape
    # Both versions of every image side by side, so that one gather picks and cuts.
    both = images.new_zeros(2 * n, c, h + 2 * PAD, w + 2 * PAD)
    inner = both[:, :, PAD : PAD + h, PAD : PAD + w]
    inner[:n] = images
    inner[n:] = images.flip(3)
    which = torch.arange(n, device=mirrored.device) + n * mirrored
    return _windows(both, h, w, top, left, which)


def resized_crop(images: Tensor, generator: Generator) -> Tensor:
    """Cut a box of 8 to 100 % of the area, ratio 3/4 to 4/3, resize it back, mirror half of them.

    The box is drawn as in Szegedy et al., "Going Deeper with Convolutions", 2015: up to ten
    attempts, else the largest box in the middle with a ratio in range. Bilinear without
    antialiasing, rounded to the nearest integer.
    """
    n, _, h, w = images.shape
    boxes = draw_boxes(n, h, w, generator)
    mirrored = draw_flips(n, generator)
    return resize_boxes(images, boxes.to(images.device), mirrored.to(images.device))


AUGMENTATIONS: Mapping[str, Callable[[Tensor, Generator], Tensor]] = MappingProxyType(
    {
        "none": keep,
        "flip": flip,
        "crop": crop,
        "flip-crop": flip_crop,
        "resized-crop": resized_crop,
    }
)


def draw_flips(n: int, generator: Generator) -> Tensor:
    """Bool `(n,)`, each true with probability 1/2, on the generator's device."""
    return torch.rand(n, generator=generator, device=generator.device) < 0.5


def draw_offsets(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Top and left corner of the windows, int64 `(n,)` in `[0, 2 PAD]`."""
    corners = torch.randint(2 * PAD + 1, (2, n), generator=generator, device=generator.device)
    return corners[0], corners[1]


def draw_boxes(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Boxes `(n, 4)` int64 as top, left, height, width, inside an image of the given size."""
    device = generator.device
    shape = (n, _ATTEMPTS)
    uniform = torch.rand((2, *shape), generator=generator, device=device, dtype=torch.float64)
    corner = torch.rand((2, n), generator=generator, device=device, dtype=torch.float64)
    area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * uniform[0])
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratio = torch.exp(low + (high - low) * uniform[1])
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    middle_height, middle_width = _middle_box(height, width)
    h = torch.where(found, heights.gather(1, first)[:, 0], middle_height)
    w = torch.where(found, widths.gather(1, first)[:, 0], middle_width)
    top = torch.where(found, (corner[0] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (corner[1] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    return torch.stack([top, left, h, w], 1).long()


def resize_boxes(images: Tensor, boxes: Tensor, mirrored: Tensor) -> Tensor:
    """Resize the box of each image to the size of the images, bilinear, and mirror some.

    Args:
        images: uint8 `(n, c, h, w)`.
        boxes: int64 `(n, 4)`: top, left, height, width in pixels.
        mirrored: bool `(n,)`.
    """
    height, width = images.shape[2:]
    top, left, h, w = boxes.float().unbind(1)
    y = _sampled(top, h, height)
    x = _sampled(left, w, width)
    x = torch.where(mirrored[:, None], x.flip(1), x)
    grid = torch.stack(
        [
            ((2 * x + 1) / width - 1)[:, None, :].expand(-1, height, -1),
            ((2 * y + 1) / height - 1)[:, :, None].expand(-1, -1, width),
        ],
        dim=-1,
    )
    values = F.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _sampled(start: Tensor, extent: Tensor, size: int) -> Tensor:
    """Source positions `(n, size)` of the pixel centers, kept within the centers of the box."""
    centers = torch.arange(size, device=start.device) + 0.5
    inside = centers * (extent / size)[:, None] - 0.5
    return start[:, None] + inside.clamp(min=0).minimum((extent - 1)[:, None])


def _middle_box(height: int, width: int) -> tuple[int, int]:
    ratio = min(max(width / height, _RATIO[0]), _RATIO[1])
    if width / height < ratio:
        return round(width / ratio), width
    return height, round(height * ratio)


def _windows(
    padded: Tensor, h: int, w: int, top: Tensor, left: Tensor, which: Tensor | None = None
) -> Tensor:
    """Window `(h, w)` at `(top, left)` of image `which` (default: each its own) of `padded`.

    Every row of a window is one run of `w` bytes of the flat memory, so one `index_select` over
    all such runs copies whole rows instead of gathering pixels.
    """
    _, c, padded_h, padded_w = padded.shape
    n, device = len(top), padded.device
    image = torch.arange(n, device=device) if which is None else which.to(device)
    corner = (top * padded_w + left).to(device)
    plane = image[:, None] * c + torch.arange(c, device=device)
    starts = plane[:, :, None] * (padded_h * padded_w) + corner[:, None, None]
    starts = starts + torch.arange(h, device=device) * padded_w
    runs = padded.flatten().unfold(0, w, 1)
    return runs.index_select(0, starts.flatten()).view(n, c, h, w)
