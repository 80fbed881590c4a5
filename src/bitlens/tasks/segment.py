"""Segmentation: the loss of class logits over the pixels that have a class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bitlens.data.dense.scenes import VOID
from bitlens.tasks.pooled import PixelSum, share


def segment_loss(logits: Tensor, mask: Tensor, *, label_smoothing: float = 0.0) -> PixelSum:
    """Cross-entropy in nats, summed over the pixels that are not void.

    Args:
        logits: (n, classes, H, W).
        mask: (n, H, W) int64 classes, `VOID` where there is none.
        label_smoothing: share of each target that is spread evenly over all classes, in [0, 1].
    """
    known = mask != VOID
    sum_ = F.cross_entropy(
        # Known pixels only: what the net says elsewhere gets a gradient of exactly zero. Classes first,
        # because softmax over a long row of pixels is several times faster than over short rows of classes.
        logits.transpose(0, 1)[:, known][None],
        mask[known][None],
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    return PixelSum(sum=sum_, count=known.sum())


def segment_score(logits: Tensor, mask: Tensor) -> Tensor:
    """Pixel accuracy in [0, 1] over the pixels that are not void; NaN where all are.

    Args:
        logits: (n, classes, H, W).
        mask: (n, H, W) int64 classes, `VOID` where there is none.
    """
    known = mask != VOID
    return share(logits.argmax(1)[known] == mask[known])
