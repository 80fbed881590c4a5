"""VGG-small, the plain CIFAR net of the binary papers: 128-128M-256-256M-512-512M.

Pooling comes before batch norm (conv - pool - BN - non-linearity), so that it sees the integer
sums of a binary convolution and not signs, of which a maximum is nearly always +1.

Source: IR-Net (CVPR 2020) and its successors; they keep the first convolution and the classifier
float. The classifier reads every pixel of the last map: 8192 features for images of 32 pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitlens.models.blocks import FloatNet, Nonlinearity, check_sizes, conv, scale_width

BASE = 128
PLAN = ((1, True), (2, False), (2, True), (4, False), (4, True))
"""After the first convolution: channels in units of the first one's, and whether to pool."""
STRIDE = 2 ** sum(pooled for _, pooled in PLAN)


class ConvUnit(nn.Module):
    """3x3 conv - (2x2 max pooling) - batch norm - non-linearity."""

    def __init__(self, c_in: int, c_out: int, *, pooled: bool, nonlinearity: Nonlinearity) -> None:
        super().__init__()
        self.conv = conv(c_in, c_out, 3)
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.norm = nn.BatchNorm2d(c_out)
        self.act = nonlinearity(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c_in, h, w)` -> `(n, c_out, h, w)`, or half of `h` and `w` rounded down."""
        return self.act(self.norm(self.pool(self.conv(x))))


class VggSmall(FloatNet):
    """Six convolutions and one linear classifier; the first and the last layer stay float."""

    def __init__(
        self, *, base: int, classes: int, channels: int, image_size: int, nonlinearity: Nonlinearity
    ) -> None:
        super().__init__()
        self.stem = ConvUnit(channels, base, pooled=False, nonlinearity=nonlinearity)
        units: list[ConvUnit] = []
        c_in = base
        for multiple, pooled in PLAN:
            c_out = base * multiple
            units.append(ConvUnit(c_in, c_out, pooled=pooled, nonlinearity=nonlinearity))
            c_in = c_out
        self.features = nn.Sequential(*units)
        self.head = nn.Linear(c_in * (image_size // STRIDE) ** 2, classes)
        self.keep_float = ("stem.conv", "head")

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, classes)` of images `(n, channels, image_size, image_size)`."""
        return self.head(self.features(self.stem(x)).flatten(1))


def vgg_small(
    *,
    classes: int,
    channels: int,
    image_size: int,
    nonlinearity: Nonlinearity,
    width: float = 1.0,
) -> VggSmall:
    """A float VGG-small; `width` scales every convolution's channels.

    Raises:
        BitlensError: no class or channel, an image below 8 pixels, or a width that leaves nothing.
    """
    check_sizes(
        "vgg-small", classes=classes, channels=channels, image_size=image_size, smallest=STRIDE
    )
    return VggSmall(
        base=scale_width(BASE, width),
        classes=classes,
        channels=channels,
        image_size=image_size,
        nonlinearity=nonlinearity,
    )
