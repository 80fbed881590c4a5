"""From uint8 pixels to what a network takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize(
    images: Tensor, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]
) -> Tensor:
    """`(images / 255 - mean) / std` per channel, as one multiply-add.

    Args:
        images: uint8 `(n, c, h, w)`.
        mean: `(c,)`, in units of [0, 1].
        std: `(c,)`, in units of [0, 1].

    Returns:
        float32 `(n, c, h, w)` in the memory format channels_last.
    """
    mean64 = torch.as_tensor(mean, dtype=torch.float64)
    std64 = torch.as_tensor(std, dtype=torch.float64)
    gain = (1 / (255 * std64)).to(images.device, torch.float32)[:, None, None]
    shift = (-mean64 / std64).to(images.device, torch.float32)[:, None, None]
    # Converting and reordering in one copy is the slower way: it walks bytes against their order.
    pixels = images.to(torch.float32)
    out = torch.empty_like(pixels, memory_format=torch.channels_last)
    return torch.addcmul(shift, pixels, gain, out=out)
