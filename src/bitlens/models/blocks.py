"""The pieces every net here is made of: shortcuts, residual units, and the checks of a builder.

Nets are ordinary float torch nets. A layer that becomes binary later gets its own activation
binarizer in front of it, so these blocks hold no signs: what a method changes in them is only the
non-linearity, given as a factory from a channel count to a module.

Sources: He et al. 2016 (the block over a pair of convolutions, the zero-padded shortcut), Bi-Real
Net 2018 (a shortcut over every convolution), ReActNet 2020 (the unit that doubles the channels).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError

Nonlinearity = Callable[[int], nn.Module]
"""Given a number of channels, a new module that maps `(n, c, ...)` to the same shape."""

ShortcutFactory = Callable[[int, int, int], nn.Module]
"""Given channels in, channels out and stride, a new module `(n, c, h, w)` -> `(n, o, h', w')`."""


class FloatNet(nn.Module):
    """A float net that names the layers which stay float when it is binarized.

    Attributes:
        keep_float: names of `Conv2d` and `Linear` modules, exact or as `fnmatch` patterns.
        blocks: names of the modules that end its residual blocks of two convolutions, whose outputs a
            teacher can be compared at; none in a net without residual blocks.
    """

    keep_float: tuple[str, ...]
    blocks: tuple[str, ...] = ()


def check_sizes(net: str, *, classes: int, channels: int, image_size: int, smallest: int) -> None:
    """Refuse sizes that `net` cannot be built for.

    Raises:
        BitlensError: `classes` or `channels` below 1, or `image_size` below `smallest`.
    """
    for name, value in (("classes", classes), ("channels", channels)):
        if value < 1:
            raise BitlensError(f"{name} is {value}, but {net} needs at least 1")
    if image_size < smallest:
        raise BitlensError(
            f"image_size is {image_size}, but {net} needs at least {smallest} pixels a side; "
            "use larger images or a net with fewer strides"
        )


def scale_width(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to a whole number of channels.

    Raises:
        BitlensError: `width` is not a positive finite number, or leaves no channel.
    """
    if not (math.isfinite(width) and width > 0):
        raise BitlensError(f"width is {width}, but it must be a positive number; 1 is the paper's")
    scaled = round(channels * width)
    if scaled < 1:
        raise BitlensError(
            f"width is {width}, which leaves no channel of {channels}; use a larger width"
        )
    return scaled


def halving_pool(stride: int) -> nn.AvgPool2d:
    """Average pooling whose output is as large as that of a padded convolution of that stride.

    At an odd edge the last window is cut off by the border and averages what is there.
    """
    return nn.AvgPool2d(stride, stride, ceil_mode=True)


def pad_channels(x: Tensor, channels: int) -> Tensor:
    """Zero channels around `x` `(n, c, h, w)` up to `channels`, half before, the rest after."""
    missing = channels - x.shape[1]
    return F.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2))


class PoolPad(nn.Module):
    """Shortcut without weights: average pooling, then zero channels on both sides.

    Maps `(n, c_in, h, w)` to `(n, c_out, ceil(h/stride), ceil(w/stride))`.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        _refuse_fewer_channels(c_in, c_out)
        self.c_out = c_out
        self.pool = halving_pool(stride)

    def forward(self, x: Tensor) -> Tensor:
        """The pooled and padded input."""
        return pad_channels(self.pool(x), self.c_out)


class SlicePad(nn.Module):
    """Shortcut without weights: every `stride`-th pixel, then zero channels on both sides.

    The ResNet paper's option A, with the padding in the middle as the binary codes have it. Maps
    `(n, c_in, h, w)` to `(n, c_out, ceil(h/stride), ceil(w/stride))`.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        _refuse_fewer_channels(c_in, c_out)
        self.c_out = c_out
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """The subsampled and padded input."""
        return pad_channels(x[:, :, :: self.stride, :: self.stride], self.c_out)

    def extra_repr(self) -> str:
        """The two numbers that make the shortcut."""
        return f"c_out={self.c_out}, stride={self.stride}"


def _refuse_fewer_channels(c_in: int, c_out: int) -> None:
    if c_out < c_in:
        raise BitlensError(
            f"a zero-padded shortcut cannot go from {c_in} to {c_out} channels; "
            "use a projection where channels become fewer"
        )


class StridedProjection(nn.Module):
    """Shortcut with weights: 1x1 convolution that strides, then batch norm (ResNet's option B).

    Whether the convolution stays float is the net's choice, through its `keep_float`.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """The projected input."""
        return self.norm(self.conv(x))


class PooledProjection(nn.Module):
    """Shortcut with weights: average pooling, 1x1 convolution, batch norm (Bi-Real, ReActNet)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.pool = halving_pool(stride) if stride > 1 else nn.Identity()
        self.conv = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """The projected input."""
        return self.norm(self.conv(self.pool(x)))


def shortcut_or_identity(make: ShortcutFactory, c_in: int, c_out: int, stride: int) -> nn.Module:
    """The identity where the shape stays, else what `make` builds."""
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    return make(c_in, c_out, stride)


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution whose zero padding keeps the size at stride 1; no bias, batch norm follows it."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, bias=False)


class SingleUnit(nn.Module):
    """Shortcut over one convolution (Bi-Real): conv - BN - add shortcut - non-linearity."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        stride: int,
        shortcut: ShortcutFactory,
        nonlinearity: Nonlinearity,
        kernel: int = 3,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.conv = conv(c_in, c_out, kernel, stride, dilation)
        self.norm = nn.BatchNorm2d(c_out)
        self.shortcut = shortcut_or_identity(shortcut, c_in, c_out, stride)
        self.act = nonlinearity(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c_in, h, w)` -> `(n, c_out, ceil(h/stride), ceil(w/stride))`."""
        return self.act(self.norm(self.conv(x)) + self.shortcut(x))


class PairUnit(nn.Module):
    """Shortcut over two 3x3 convolutions: conv - BN - act - conv - BN - add shortcut - act."""

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
        self.conv1 = conv(c_in, c_out, 3, stride)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.act1 = nonlinearity(c_out)
        self.conv2 = conv(c_out, c_out, 3)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.shortcut = shortcut_or_identity(shortcut, c_in, c_out, stride)
        self.act2 = nonlinearity(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c_in, h, w)` -> `(n, c_out, ceil(h/stride), ceil(w/stride))`."""
        y = self.act1(self.norm1(self.conv1(x)))
        return self.act2(self.norm2(self.conv2(y)) + self.shortcut(x))


class BottleneckGate(nn.Module):
    """One factor in (0, 1) per channel and image: global average - linear - ReLU - linear - sigmoid.

    Squeeze and excitation with `c_in / 8` channels between the linear layers, but at least 8: the papers'
    nets have no fewer than 4, and of two ReLUs both are often dead from the start. The layers stay
    float, and a packed net computes them for every image: a gate cannot be folded away.
    """

    REDUCTION = 8
    FEWEST = 8

    def __init__(self, c_in: int, c_out: int, *, bias: bool) -> None:
        super().__init__()
        between = max(c_in // self.REDUCTION, self.FEWEST)
        self.reduce = nn.Linear(c_in, between, bias=bias)
        self.expand = nn.Linear(between, c_out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c_in, h, w)` -> `(n, c_out, 1, 1)`."""
        between = torch.relu(self.reduce(x.mean(dim=(2, 3))))
        return torch.sigmoid(self.expand(between))[:, :, None, None]


class DoublingUnit(nn.Module):
    """Twice the channels without a projection (ReActNet): two 1x1 convs beside each other.

    Each is conv - BN - add the input; their outputs are concatenated, then the non-linearity.

    Attributes:
        shared_inputs: groups of children that read one input through one activation binarizer.
    """

    shared_inputs: tuple[tuple[str, ...], ...] = (("left", "right"),)

    def __init__(self, c_in: int, *, nonlinearity: Nonlinearity) -> None:
        super().__init__()
        self.left = conv(c_in, c_in, 1)
        self.left_norm = nn.BatchNorm2d(c_in)
        self.right = conv(c_in, c_in, 1)
        self.right_norm = nn.BatchNorm2d(c_in)
        self.act = nonlinearity(2 * c_in)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c_in, h, w)` -> `(n, 2 * c_in, h, w)`."""
        left = self.left_norm(self.left(x)) + x
        right = self.right_norm(self.right(x)) + x
        return self.act(torch.cat((left, right), dim=1))
