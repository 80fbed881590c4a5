"""ReActNet: learned thresholds and a learned, shifted PReLU.

Forward: RSign sgn(x + b_c) with a learned shift per channel (init 0); weights as in Bi-Real. Block
non-linearity RPReLU: PReLU_c(x + b1_c) + b2_c, slope init 1/4. Backward: max(0, 2 - 2|x + b|) on
activations, CLIP(1) on W. The paper trains in two stages (real weights first, then 1-bit weights) and
with the soft outputs of a float net as the only targets (`distribution` in `bitlens.objectives`).

Source: Liu, Shen, Savvides, Cheng, "ReActNet", ECCV 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitlens.bits import polynomial
from bitlens.methods.bireal import MeanMagnitudeWeight
from bitlens.methods.contract import TWO_STEP, ActivationBinarizer, Method


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """View (c,) so that it broadcasts over (n, c, ...)."""
    return values.view(1, -1, *([1] * (x.dim() - 2)))


class RSign(ActivationBinarizer):
    """sgn(x + b_c), b learned."""

    def __init__(self, channels: int) -> None:
        super().__init__(polynomial)
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Signs of x + b, x (n, c, ...)."""
        return self.sign(x + per_channel(self.shift, x))


class RPReLU(nn.Module):
    """PReLU_c(x + b1_c) + b2_c with learned slope and shifts per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift_in = nn.Parameter(torch.zeros(channels))
        self.prelu = nn.PReLU(channels, init=0.25)
        self.shift_out = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, ...) -> same shape."""
        return self.prelu(x + per_channel(self.shift_in, x)) + per_channel(self.shift_out, x)


REACTNET = Method(
    title="ReActNet: RSign, RPReLU, two-step training",
    paper="Liu et al., ECCV 2020",
    weight=lambda progress: MeanMagnitudeWeight(),
    activation=lambda channels, progress: RSign(channels),
    nonlinearity=RPReLU,
    plan=TWO_STEP,
)
