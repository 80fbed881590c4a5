"""Between the bytes of an image and the normalised numbers that a net takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.freeze.flow import Array
from bitlens.errors import BitlensError


def image_bytes(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """The bytes (n, h, w, c) that normalised images came from.

    Raises:
        BitlensError: the images cannot come from bytes with this mean and std.
    """
    around = (1, -1, 1, 1)
    gain, shift = (np.asarray(v, np.float64).reshape(around) for v in (std, mean))
    real = (images.double().numpy() * gain + shift) * 255
    outside = (real < -1) | (real > 256) | ~np.isfinite(real)
    if outside.any():
        raise BitlensError(
            f"pack: {outside.mean():.1%} of the example's pixels are no bytes under mean={mean}, "
            f"std={std} (they span {real.min():.0f} to {real.max():.0f} of 0 to 255); give the images as "
            "the net takes them with the mean and std that made them, or neither mean nor std"
        )
    return np.clip(np.rint(real), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


def normalised(rows: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """What the net takes for bytes (n, h, w, c): (byte / 255 - mean) / std as float32 (n, c, h, w)."""
    real = (rows.astype(np.float64) / 255 - np.asarray(mean)) / np.asarray(std)
    return torch.from_numpy(real.astype(np.float32).transpose(0, 3, 1, 2).copy())
