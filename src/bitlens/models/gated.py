"""Residual units whose convolution output is scaled by a gate that looks at the image.

Real-to-Binary predicts the scale of every output channel from the convolution's own real input. BNext
predicts it from a learned mixture of the unit's input and output. Both keep the gate's two small
linear layers float and multiply while the net runs.

Sources: Martinez et al., "Training Binary Neural Networks with Real-to-Binary Convolutions", ICLR 2020;
Guo et al., "Join the High Accuracy Club on ImageNet with A Binary Neural Network Ticket" (BNext), 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitlens.models.blocks import (
    BottleneckGate,
    Nonlinearity,
    ShortcutFactory,
    conv,
    shortcut_or_identity,
)


class RealToBinaryUnit(nn.Module):
    """BN - conv - times a gate on the BN's output - PReLU - add shortcut.

    The method's non-linearity has no place in it: the unit brings its own PReLU.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        stride: int,
        shortcut: ShortcutFactory,
        nonlinearity: Nonlinearity,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(c_in)
        self.conv = conv(c_in, c_out, 3, stride)
        self.gate = BottleneckGate(c_in, c_out, bias=False)
        self.act = nn.PReLU(c_out)
        self.shortcut = shortcut_or_identity(shortcut, c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c_in, h, w)` -> `(n, c_out, ceil(h/stride), ceil(w/stride))`."""
        normed = self.norm(x)
        return self.act(self.conv(normed) * self.gate(normed)) + self.shortcut(x)


class BNextUnit(nn.Module):
    """Shift - conv - BN - PReLU - times a gate - BN - add shortcut.

    The gate sees `s * shortcut + (1 - s) * y`, y the PReLU's output, with s per channel learned in
    [0, 1] from 1/2: what an optimizer step takes out of the interval is put back before it is used. The
    method's non-linearity has no place in it: the unit brings its own PReLU.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        stride: int,
        shortcut: ShortcutFactory,
        nonlinearity: Nonlinearity,
    ) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(c_in))
        self.conv = conv(c_in, c_out, 3, stride)
        self.norm = nn.BatchNorm2d(c_out)
        self.act = nn.PReLU(c_out)
        self.mix = nn.Parameter(torch.full((c_out,), 0.5))
        self.gate = BottleneckGate(c_out, c_out, bias=True)
        self.out_norm = nn.BatchNorm2d(c_out)
        self.shortcut = shortcut_or_identity(shortcut, c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c_in, h, w)` -> `(n, c_out, ceil(h/stride), ceil(w/stride))`."""
        if self.training:
            # A clamp alone would give a parameter beyond the interval no gradient to come back with.
            # Through `data`, so that the backward pass of an earlier forward still accepts its value.
            self.mix.data.clamp_(0, 1)
        through = self.shortcut(x)
        y = self.act(self.norm(self.conv(x + self.shift[:, None, None])))
        # Averaging is linear: mixing the averages instead of the maps saves two passes over a map.
        share = self.mix.clamp(0, 1)[:, None, None]
        mixed = share * _average(through) + (1 - share) * _average(y)
        return self.out_norm(y * self.gate(mixed)) + through


def _average(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)
