"""Depth: losses of predicted log-depth over the pixels whose depth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from bitlens.tasks.pooled import PixelSum, largest, share

NEAREST, FARTHEST = 0.1, 10.0
"""Metres between which predictions are judged."""

BERHU_SHARE = 0.2
"""Of the largest error: where the reversed Huber loss turns from absolute to squared."""

SILOG_LAMBDA = 0.5
"""Weight of the squared mean error of logarithms in the scale-invariant loss."""


def to_metres(log_depth: Tensor) -> Tensor:
    """Metres of predicted log-depth, clamped to [0.1, 10] as they are at evaluation."""
    return log_depth.exp().clamp(NEAREST, FARTHEST)


def depth_loss(
    name: Literal["l1", "berhu", "silog"],
    log_depth: Tensor,
    depth: Tensor,
    *,
    largest: Callable[[Tensor], Tensor] = largest,
) -> PixelSum:
    """The loss of that name, summed over the pixels whose depth is known.

    Args:
        name: "l1" or "berhu" of the error in metres, "silog" of the error of logarithms.
        log_depth: (n, H, W) predicted natural logarithms of metres.
        depth: (n, H, W) metres, 0 where it is unknown.
        largest: the largest of the absolute errors, without gradient; "berhu" turns at a fifth of it.
    """
    known = depth > 0
    if name == "silog":
        return PixelSum(sum=_silog(log_depth, depth, known), count=known.sum())
    error = (log_depth[known].exp() - depth[known]).abs()
    if name == "berhu":
        error = berhu(error, BERHU_SHARE * largest(error))
    return PixelSum(sum=error.sum(), count=known.sum())


def berhu(error: Tensor, threshold: Tensor) -> Tensor:
    """Reversed Huber loss: x up to the threshold c, beyond it (x^2 + c^2) / 2c.

    Laina et al., "Deeper Depth Prediction with Fully Convolutional Residual Networks", 3DV 2016, with c
    a fifth of the largest error of the batch.

    Args:
        error: absolute errors, any shape.
        threshold: scalar c; 0 only where all errors are 0, and the loss is then the error.
    """
    # No division by zero: a loss that is not taken must not turn its gradient into NaN.
    c = torch.where(threshold > 0, threshold, torch.ones_like(threshold))
    return torch.where(error <= threshold, error, (error.square() + c.square()) / (2 * c))


def _silog(log_depth: Tensor, depth: Tensor, known: Tensor) -> Tensor:
    """Per image mean(e^2) - lambda mean(e)^2, e the error of logarithms; times its known pixels, summed.

    Eigen, Puhrsch and Fergus, "Depth Map Prediction from a Single Image using a Multi-Scale Deep
    Network", NIPS 2014, equation 4 with lambda 0.5. Where every depth is known the mean over pixels of
    this sum is the mean over images of theirs.
    """
    losses = []
    for said, true, where in zip(log_depth, depth, known, strict=True):
        error = said[where] - true[where].log()
        count = where.sum().clamp(min=1)
        losses.append(error.square().sum() - SILOG_LAMBDA * error.sum().square() / count)
    return torch.stack(losses).sum()


def depth_score(log_depth: Tensor, depth: Tensor) -> Tensor:
    """Share of known pixels whose depth is right within a factor of 1.25; NaN where none is known.

    Args:
        log_depth: (n, H, W) predicted natural logarithms of metres.
        depth: (n, H, W) metres, 0 where it is unknown.
    """
    known = depth > 0
    said, true = to_metres(log_depth[known]), depth[known]
    return share(torch.maximum(said / true, true / said) < 1.25)
