"""Mean and standard deviation of pixels, exact."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 1 << 22


def channel_moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation per channel of uint8 `(n, c, h, w)`, in [0, 1].

    Pixels take 256 values, so they are counted and both moments follow from the counts without
    rounding on the way; the result does not depend on the number of threads.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        counts = torch.zeros(256, dtype=torch.int64)
        per_image = channel[0].numel()
        for part in channel.split(max(1, _CHUNK // per_image)):
            counts += torch.bincount(part.flatten().cpu(), minlength=256)
        share = counts.double() / counts.sum()
        mean = (share * values).sum()
        means.append(mean.item())
        stds.append((share * (values - mean) ** 2).sum().sqrt().item())
    return tuple(means), tuple(stds)
