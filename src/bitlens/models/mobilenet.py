"""ReActNet-A: MobileNetV1's layout with full 3x3 convolutions and no projection anywhere.

Source: ReActNet (ECCV 2020). Each of the 13 blocks is a 3x3 convolution at constant width, over
which the shortcut is the identity or an average pooling, and then a 1x1 convolution; where the
channels double, that is two 1x1 convolutions on the same input, side by side. The stem (3x3,
stride 2, batch norm, no non-linearity) and the classifier stay float.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitlens.models.blocks import (
    DoublingUnit,
    FloatNet,
    Nonlinearity,
    PoolPad,
    SingleUnit,
    check_sizes,
    conv,
    scale_width,
)

BASE = 32
BLOCKS = (
    (2, 1),
    (4, 2),
    (4, 1),
    (8, 2),
    (8, 1),
    (16, 2),
    *((16, 1),) * 5,
    (32, 2),
    (32, 1),
)
"""Each block's output channels in units of the stem's, and the stride of its 3x3 convolution."""
BLOCK_STRIDE = 2 ** sum(stride == 2 for _, stride in BLOCKS)
LARGE_IMAGE = 64
"""From this side length on, the stem strides as the paper's does at 224."""


class ReActNetA(FloatNet):
    """Stem, 13 blocks of two units each, global average pooling, linear classifier."""

    def __init__(
        self,
        *,
        base: int,
        stem_stride: int,
        classes: int,
        channels: int,
        nonlinearity: Nonlinearity,
    ) -> None:
        super().__init__()
        self.stem = conv(channels, base, 3, stem_stride)
        self.stem_norm = nn.BatchNorm2d(base)
        units: list[nn.Module] = []
        c_in = base
        for multiple, stride in BLOCKS:
            units += _block(c_in, base * multiple, stride, nonlinearity)
            c_in = base * multiple
        self.features = nn.Sequential(*units)
        self.head = nn.Linear(c_in, classes)
        self.keep_float = ("stem", "head")
        # Every block of the paper is two units.
        self.blocks = tuple(f"features.{place}" for place in range(1, len(units), 2))

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, classes)` of images `(n, channels, h, w)`."""
        x = self.features(self.stem_norm(self.stem(x)))
        return self.head(x.mean(dim=(2, 3)))


def _block(c_in: int, c_out: int, stride: int, nonlinearity: Nonlinearity) -> list[nn.Module]:
    # At constant width PoolPad pads no channel: it is the paper's plain average pooling.
    spatial = SingleUnit(c_in, c_in, stride=stride, shortcut=PoolPad, nonlinearity=nonlinearity)
    if c_out != c_in:
        return [spatial, DoublingUnit(c_in, nonlinearity=nonlinearity)]
    pointwise = SingleUnit(
        c_in, c_in, stride=1, shortcut=PoolPad, nonlinearity=nonlinearity, kernel=1
    )
    return [spatial, pointwise]


def reactnet_a(
    *,
    classes: int,
    channels: int,
    image_size: int,
    nonlinearity: Nonlinearity,
    width: float = 1.0,
) -> ReActNetA:
    """A float ReActNet-A; `width` scales every channel count. 224 pixels is the paper's size.

    Below 64 pixels the stem has stride 1 instead of the paper's 2, since four more halvings follow
    it: a CIFAR image then ends as 2x2, not as a single pixel.

    Raises:
        BitlensError: no class or channel, an image below 16 pixels, or a width that leaves nothing.
    """
    check_sizes(
        "reactnet-a",
        classes=classes,
        channels=channels,
        image_size=image_size,
        smallest=BLOCK_STRIDE,
    )
    return ReActNetA(
        base=scale_width(BASE, width),
        stem_stride=2 if image_size >= LARGE_IMAGE else 1,
        classes=classes,
        channels=channels,
        nonlinearity=nonlinearity,
    )
