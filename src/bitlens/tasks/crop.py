"""The part of a picture that is judged."""

from __future__ import annotations

import math

from bitlens.data.dense.scenes import Truth
from bitlens.tasks.known import truth_size

Shares = tuple[float, float, float, float]
"""Top, bottom, left and right as shares of height and width."""


def check_crop(crop: Shares) -> None:
    """Refuse shares that are no rectangle inside the picture.

    Raises:
        ValueError: they are out of order or outside [0, 1].
    """
    top, bottom, left, right = crop
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise ValueError(f"crop={crop}; it must be top < bottom and left < right, shares in [0, 1]")


def crop_window(crop: Shares | None, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a picture that lie inside the shares, each edge at the nearest pixel's edge.

    Shares a / H come back as row a exactly: those of the usual crop of NYU-Depth-v2 (Eigen et al., NIPS
    2014), 45/480 to 471/480 and 41/640 to 601/640, give rows 45:471 and columns 41:601 of 480x640.

    Args:
        crop: None keeps everything.
        size: (H, W) in pixels.

    Raises:
        ValueError: nothing of a picture of this size is left.
    """
    height, width = size
    if crop is None:
        return slice(0, height), slice(0, width)
    top, bottom, left, right = crop
    rows = slice(_nearest(top * height), _nearest(bottom * height))
    columns = slice(_nearest(left * width), _nearest(right * width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(f"crop={crop} leaves nothing of {height}x{width} pixels")
    return rows, columns


def crop_truth(truth: Truth, crop: Shares | None) -> Truth:
    """The part of the truth that lies inside the shares; see `crop_window`."""
    window = (slice(None), *crop_window(crop, truth_size(truth)))
    return Truth(
        None if truth.mask is None else truth.mask[window],
        None if truth.depth is None else truth.depth[window],
    )


def _nearest(edge: float) -> int:
    return math.floor(edge + 0.5)
