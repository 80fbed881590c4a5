"""ReActNet: learned thresholds and a learned, shifted PReLU.

Forward: RSign sgn(x + b_c) with a learned shift per channel (init 0); weights as in Bi-Real. Block
non-linearity RPReLU: PReLU_c(x + b1_c) + b2_c, slope init 1/4. Backward: max(0, 2 - 2|x + b|) on
activations, CLIP(1) on W. The paper trains in two stages (real weights first, then 1-bit weights) and
with the soft outputs of a float net as the only targets (`distribution` in `bitlens.objectives`).

Source: Liu, Shen, Savvides, Cheng, "ReActNet", ECCV 2020.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
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


class BranchlessPReLU(torch.autograd.Function):
    """PReLU whose backward has no branch per entry; value and gradient are those of torch.

    Torch's own asks every entry for its sign. Signs here are as good as random, and the mispredicted
    branches alone took a fifth of a training step on a CPU.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        """PReLU of x (n, c, ...) with slopes (c,)."""
        return F.prelu(x, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep both inputs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x and the slopes."""
        x, slope = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(grads[0], x, 0.0)
        below = grads[0] - above
        others = [axis for axis in range(x.dim()) if axis != 1]
        grad_x = above.addcmul(below, per_channel(slope, x))
        return grad_x, (below * x).sum(others)


class RPReLU(nn.Module):
    """PReLU_c(x + b1_c) + b2_c with learned slope and shifts per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift_in = nn.Parameter(torch.zeros(channels))
        self.prelu = nn.PReLU(channels, init=0.25)
        self.shift_out = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, ...) -> same shape."""
        kinked: Tensor = BranchlessPReLU.apply(x + per_channel(self.shift_in, x), self.prelu.weight)
        return kinked + per_channel(self.shift_out, x)


REACTNET = Method(
    title="ReActNet: RSign, RPReLU, two-step training",
    paper="Liu et al., ECCV 2020",
    weight=lambda latent, progress: MeanMagnitudeWeight(),
    activation=lambda channels, progress: RSign(channels),
    nonlinearity=RPReLU,
    plan=TWO_STEP,
)
