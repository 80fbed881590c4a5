"""From a coarse map to a finer one with binary convolutions that all have a real-valued bypass.

A binary convolution loses all magnitudes of what it reads, and what is lost in a decoder no later
layer can restore. So every convolution here has a bypass without weights: the identity, and where
channels become fewer the mean of groups of them. Channels become fewer at the coarse resolution, where
a convolution costs a quarter.

Source: Lang et al., "E2FIF: Push the limit of Binarized Deep Imagery Super-resolution using End-to-end
Full-precision Information Flow" (2022), for the unbroken bypass; the plan of the decoder is our own.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.models.blocks import Nonlinearity, SingleUnit


class GroupMean(nn.Module):
    """Bypass to fewer channels: the mean of the channels j, j + c_out, j + 2 c_out, ...

    Maps `(n, c_in, h, w)` to `(n, c_out, h, w)`.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        if c_in % c_out or stride != 1:
            raise BitlensError(
                f"a mean of channel groups cannot go from {c_in} to {c_out} channels at stride "
                f"{stride}; use a divisor of the channels and stride 1"
            )
        self.c_out, self.groups = c_out, c_in // c_out

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the groups."""
        first, *others = x.split(self.c_out, dim=1)
        for other in others:
            first = first + other
        return first * (1 / self.groups)

    def extra_repr(self) -> str:
        """The two numbers that make the bypass."""
        return f"c_out={self.c_out}, groups={self.groups}"


class DecoderStage(nn.Module):
    """Fewer channels, `scale` times the size, an encoder's map added, one more convolution.

    Attributes:
        reduce: 3x3 convolution to the skip's channels, with the mean of channel groups as bypass.
        enlarge: repeats every pixel.
        refine: 3x3 convolution with the identity as bypass.
    """

    def __init__(self, c_in: int, c_out: int, *, scale: int, nonlinearity: Nonlinearity) -> None:
        super().__init__()
        self.reduce = SingleUnit(
            c_in, c_out, stride=1, shortcut=GroupMean, nonlinearity=nonlinearity
        )
        self.enlarge = nn.Upsample(scale_factor=scale) if scale > 1 else nn.Identity()
        self.refine = SingleUnit(
            c_out, c_out, stride=1, shortcut=GroupMean, nonlinearity=nonlinearity
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """`(n, c_in, h, w)` and the skip `(n, c_out, scale h, scale w)` -> the skip's shape."""
        return self.refine(self.enlarge(self.reduce(x)) + skip)
