"""DyBNN: thresholds and shifts that follow every image's channel means.

Forward: DySign sgn(x - (a_c + e_c(x))) with a learned static threshold a (init 0) and
e(x) = W2 relu(W1 m), m the mean of every channel of one image, W1 (h, c), W2 (c, h) and
h = max(c / 16, 4). Block non-linearity DyPReLU: PReLU_c(x - (g_c + e'_c(x))) + z_c + e''_c(x), slope
init 1/4, with e' and e'' of the same form and matrices of their own. Weights as in ReActNet. W2 starts
at zero, so training starts exactly at ReActNet. Backward: max(0, 2 - 2|.|) at the sign's input, through
the means as well; CLIP(1) on W. The plan is ReActNet's two stages.

The abstract of the paper fixes the idea and the formulas around e; the two matrices without biases and
the bottleneck of a sixteenth, with at least four numbers, are this implementation's reading. No code
was released.

Source: Zhang, Su, Feng, Lu, Pietikäinen, Liu, "Dynamic Binary Neural Network by learning channel-wise
thresholds", ICASSP 2022.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bits import polynomial
from bitlens.methods.bireal import MeanMagnitudeWeight
from bitlens.methods.contract import TWO_STEP, ActivationBinarizer, Method
from bitlens.methods.reactnet import BranchlessPReLU

REDUCTION = 16
"""Channels per hidden number of e."""

FEWEST_HIDDEN = 4
"""Hidden numbers in any case."""


class ChannelShift(nn.Module):
    """static_c + e_c(m), one number per image and channel; e is zero at the start.

    The matrices are bare parameters, so that `binarize` does not take them for layers of the net.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, FEWEST_HIDDEN)
        self.static = nn.Parameter(torch.zeros(channels))
        self.squeeze = nn.Parameter(torch.empty(hidden, channels))
        self.excite = nn.Parameter(torch.zeros(channels, hidden))
        nn.init.uniform_(self.squeeze, -(channels**-0.5), channels**-0.5)

    def forward(self, means: Tensor) -> Tensor:
        """Channel means (n, c) -> shifts (n, c)."""
        return self.static + F.linear(F.linear(means, self.squeeze).relu(), self.excite)


def channel_means(x: Tensor) -> Tensor:
    """Mean of every channel of every image: (n, c, ...) -> (n, c); (n, c) is its own mean."""
    if x.dim() == 2:
        return x
    # The gradient of a sum is one number seen everywhere; that of mean() is written out in full.
    return x.sum(tuple(range(2, x.dim()))) / x[0, 0].numel()


def over_positions(values: Tensor, x: Tensor) -> Tensor:
    """View (n, c) so that it broadcasts over x (n, c, ...)."""
    return values.view(*values.shape, *([1] * (x.dim() - 2)))


class DySign(ActivationBinarizer):
    """sgn(x - (a_c + e_c(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__(polynomial)
        self.threshold = ChannelShift(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Signs of x (n, c, ...) against its own image's thresholds."""
        return self.sign(x + over_positions(-self.threshold(channel_means(x)), x))


class DyPReLU(nn.Module):
    """PReLU_c(x - (g_c + e'_c(x))) + (z_c + e''_c(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift_in = ChannelShift(channels)
        self.prelu = nn.PReLU(channels, init=0.25)
        self.shift_out = ChannelShift(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, ...) -> same shape."""
        means = channel_means(x)
        kinked: Tensor = BranchlessPReLU.apply(
            x + over_positions(-self.shift_in(means), x), self.prelu.weight
        )
        return kinked.add_(over_positions(self.shift_out(means), x))


DYBNN = Method(
    title="DyBNN: thresholds and shifts computed from every image's channel means",
    paper="Zhang et al., ICASSP 2022",
    weight=lambda latent, progress: MeanMagnitudeWeight(),
    activation=lambda channels, progress: DySign(channels),
    nonlinearity=DyPReLU,
    deploy="runtime",
    why_runtime="its thresholds are computed from every image's channel means",
    plan=TWO_STEP,
)
