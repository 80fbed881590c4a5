"""A multi-layer perceptron: the smallest net in which every idea of this package shows."""

from __future__ import annotations

from torch import Tensor, nn

from bitlens.models.blocks import FloatNet, Nonlinearity, check_sizes, scale_width

HIDDEN = 256
DEPTH = 3


class Mlp(FloatNet):
    """Flatten, three hidden layers of linear - BN - non-linearity, and a linear head.

    The first layer and the head stay float; the two layers between them can become binary.
    """

    def __init__(
        self, *, inputs: int, hidden: int, classes: int, nonlinearity: Nonlinearity
    ) -> None:
        super().__init__()
        self.stem = DenseUnit(inputs, hidden, nonlinearity=nonlinearity)
        self.hidden = nn.Sequential(
            *(DenseUnit(hidden, hidden, nonlinearity=nonlinearity) for _ in range(DEPTH - 1))
        )
        self.head = nn.Linear(hidden, classes)
        self.keep_float = ("stem.linear", "head")

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, classes)` of images `(n, channels, h, w)`."""
        return self.head(self.hidden(self.stem(x.flatten(1))))


class DenseUnit(nn.Module):
    """Linear - batch norm - non-linearity."""

    def __init__(self, d_in: int, d_out: int, *, nonlinearity: Nonlinearity) -> None:
        super().__init__()
        self.linear = nn.Linear(d_in, d_out, bias=False)
        self.norm = nn.BatchNorm1d(d_out)
        self.act = nonlinearity(d_out)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, d_in)` -> `(n, d_out)`."""
        return self.act(self.norm(self.linear(x)))


def mlp(
    *,
    classes: int,
    channels: int,
    image_size: int,
    nonlinearity: Nonlinearity,
    width: float = 1.0,
) -> Mlp:
    """A float MLP for square images of `image_size` pixels a side; `width` scales its 256 units.

    Raises:
        BitlensError: a size below 1, or a width that leaves no unit.
    """
    check_sizes("mlp", classes=classes, channels=channels, image_size=image_size, smallest=1)
    return Mlp(
        inputs=channels * image_size**2,
        hidden=scale_width(HIDDEN, width),
        classes=classes,
        nonlinearity=nonlinearity,
    )
