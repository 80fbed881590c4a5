"""What a task asks of the truth, told clearly where it is not there."""

from __future__ import annotations

from torch import Tensor

from bitlens.data.dense.scenes import Truth
from bitlens.errors import BitlensError


def masks_of(truth: Truth) -> Tensor:
    """The classes of every pixel.

    Raises:
        BitlensError: the scenes have no masks.
    """
    return _given(truth.mask, "masks")


def depths_of(truth: Truth) -> Tensor:
    """The metres of every pixel.

    Raises:
        BitlensError: the scenes have no depths.
    """
    return _given(truth.depth, "depths")


def _given(known: Tensor | None, what: str) -> Tensor:
    if known is None:
        raise BitlensError(
            f"the scenes have no {what}, which this task needs; choose data that has, or another task"
        )
    return known


def truth_size(truth: Truth) -> tuple[int, int]:
    """Height and width of what is known, in pixels."""
    return truth.known.shape[1], truth.known.shape[2]
