"""XNOR-Net++: one learned scale per output channel, row and column instead of computed ones.

Forward: sgn(W), sgn(x); entry (c, i, j) of the convolution's output is multiplied by s_c s_i s_j, the
outer product of three learned vectors that start at one. A linear layer has s_c alone.
Backward: CLIP(1) for weights and activations; the scales get the gradient of the product.
The vectors of rows and columns have the size of the layer's output, which is known at the first
forward pass only and fixed from then on: they are lazy parameters in the sense of torch.nn.LazyConv2d.

Source: Bulat, Tzimiropoulos, "XNOR-Net++: Improved Binary Neural Networks", BMVC 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from bitlens.bits import hard_tanh
from bitlens.errors import BitlensError
from bitlens.methods.bnn import PlainSignWeight
from bitlens.methods.contract import ActivationBinarizer, Method


class ChannelScale(nn.Module):
    """s_c on the output (..., o) of a linear layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = nn.Parameter(torch.ones(channels))

    def forward(self, output: Tensor) -> Tensor:
        """Scale the last axis."""
        return output * self.channel


class RankOneScale(LazyModuleMixin, nn.Module):
    """s_c s_i s_j on the output (n, o, h, w) of a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()  # pyrefly: ignore[bad-argument-type]
        self.channel = nn.Parameter(torch.ones(channels))
        self.row = nn.UninitializedParameter()
        self.column = nn.UninitializedParameter()

    def initialize_parameters(self, output: Tensor) -> None:
        """Give rows and columns of `output` a scale of one each."""
        if not self.has_uninitialized_params():  # pyrefly: ignore[bad-argument-type]
            return
        with torch.no_grad():
            for vector, side in ((self.row, output.shape[-2]), (self.column, output.shape[-1])):
                vector.materialize((side,))
                nn.init.ones_(vector)

    def forward(self, output: Tensor) -> Tensor:
        """Scale every place and channel.

        Raises:
            BitlensError: the output's size is not the one the scales were made for.
        """
        learned, given = (len(self.row), len(self.column)), tuple(output.shape[-2:])
        if learned != given:
            raise BitlensError(
                f"xnorpp: a layer's output is {given[0]} x {given[1]}, but it learned scales for "
                f"{learned[0]} x {learned[1]} places; use images of the size it was trained on, or "
                "method 'xnor' for a net of any size"
            )
        places = self.row.view(-1, 1) * self.column
        if output.stride(1) != 1:
            return output * (self.channel.view(-1, 1, 1) * places)
        # Factors that lie in one order in memory are multiplied, and added up, five times as fast.
        channels_last = output.permute(0, 2, 3, 1) * (self.channel * places.unsqueeze(-1))
        return channels_last.permute(0, 3, 1, 2)


def output_scale(latent: Tensor) -> nn.Module:
    """The output's scales for a layer of latent weight (o, ...)."""
    return (ChannelScale if latent.dim() == 2 else RankOneScale)(latent.shape[0])


XNORPP = Method(
    title="XNOR-Net++: learned scales per output channel, row and column",
    paper="Bulat & Tzimiropoulos, BMVC 2019",
    weight=lambda latent, progress: PlainSignWeight(),
    activation=lambda channels, progress: ActivationBinarizer(hard_tanh),
    nonlinearity=lambda channels: nn.Hardtanh(),
    output=output_scale,
    deploy="runtime",
    why_runtime="the scale differs from place to place",
)
