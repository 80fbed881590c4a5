"""Second moments of what a convolution sees in its window, over calibration images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from bitlens.engine.freeze.flow import Array, Op

WINDOWS = 2048
"""Windows taken from a pair of images at most, evenly spaced."""

LARGEST_WINDOW = 4096
"""Inputs of one filter beyond which the moments would cost more than they are worth."""


class Moments:
    """E[x x^T] of a convolution's windows, (groups, k, k) with k = cg kh kw in the order of its filters.

    Sums begin at once and end with `mean`; a convolution with too large a window has none.
    """

    def __init__(self, conv: Op) -> None:
        assert conv.weights is not None
        self.conv = conv
        self.size = int(np.prod(conv.weights.shape[1:]))
        self.wanted = self.size <= LARGEST_WINDOW
        side = self.size if self.wanted else 0
        self.sums = torch.zeros(conv.groups, side, side, dtype=torch.float64)
        self.count = 0

    def add(self, rows: Array) -> None:
        """Take in real inputs (n, h, w, c)."""
        if not self.wanted:
            return
        window = self.conv.window
        top, left, bottom, right = window.pads
        image = torch.from_numpy(np.ascontiguousarray(rows.transpose(0, 3, 1, 2))).double()
        columns = F.unfold(
            F.pad(image, (left, right, top, bottom)),
            window.kernel,
            dilation=window.dilation,
            stride=window.stride,
        )
        step = max(1, columns.shape[0] * columns.shape[2] // WINDOWS)
        kept = columns[:, :, ::step].transpose(0, 1).reshape(self.conv.groups, self.size, -1)
        self.sums += kept @ kept.transpose(1, 2)
        self.count += kept.shape[2]

    @property
    def mean(self) -> npt.NDArray[np.float64] | None:
        """The moments; None where there are none."""
        return self.sums.numpy() / self.count if self.wanted and self.count else None
