"""From a dense net's outputs, at a quarter of its images' size, to the pixels that are judged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OUTPUT_STRIDE = 4
"""Pixels of the image, per side, that one output of a dense net stands for."""


def upsample_outputs(
    outputs: Tensor, size_of_image: tuple[int, int], size: tuple[int, int] | None = None
) -> Tensor:
    """One output per pixel, by bilinear interpolation between pixel centres.

    Two steps, so that a net that padded its image and one that did not need to give the same: first by
    exactly 4 and cropped to the image, then, where truth has another size, to that size.

    Args:
        outputs: (n, channels, ceil(h / 4), ceil(w / 4)), floating point.
        size_of_image: (h, w) of the images that the net saw, pixels.
        size: (H, W) wanted; None for the images' own.

    Returns:
        (n, channels, H, W), in single precision or better.

    Raises:
        ValueError: outputs are not of the size that such images give.
    """
    height, width = size_of_image
    expected = -(-height // OUTPUT_STRIDE), -(-width // OUTPUT_STRIDE)
    if outputs.ndim != 4 or tuple(outputs.shape[-2:]) != expected:
        raise ValueError(
            f"outputs of images of {height}x{width} pixels must be (n, channels, {expected[0]}, "
            f"{expected[1]}), got {tuple(outputs.shape)}"
        )
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    padded = expected[0] * OUTPUT_STRIDE, expected[1] * OUTPUT_STRIDE
    pixels = F.interpolate(outputs, size=padded, mode="bilinear", align_corners=False)
    pixels = pixels[..., :height, :width]
    if size is None or tuple(size) == (height, width):
        return pixels
    return F.interpolate(pixels, size=tuple(size), mode="bilinear", align_corners=False)
