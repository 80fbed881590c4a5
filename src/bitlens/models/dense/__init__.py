"""Nets with an answer for every place of an image: binary encoders with binary decoders.

This file imports no torch; `create_dense` and the leaf modules do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitlens.errors import unknown
from bitlens.methods import check_name
from bitlens.models import FLOAT

if TYPE_CHECKING:
    from torch import nn


TOTAL_STRIDE = 16
"""Pixels of the image's side to one of the coarsest map's, in every net named here."""


@dataclass(frozen=True, kw_only=True)
class DenseFacts:
    """One named net.

    Attributes:
        convs: 3x3 convolutions in each of the encoder's stages.
        base: channels of its first stage; each later stage has twice as many.
        about: its structure in one line.
        paper: where the encoder comes from.
    """

    convs: tuple[int, ...]
    base: int
    about: str
    paper: str


DENSE_NETS: dict[str, DenseFacts] = {
    "dense-resnet18-bireal": DenseFacts(
        convs=(4, 4, 4, 4),
        base=64,
        about="resnet18-imagenet-bireal-fp1x1 to 1/16, decoder 256-128-64 to 1/4, skips added",
        paper="encoder of Bi-Real Net (ECCV 2018)",
    ),
    "dense-resnet34-bireal": DenseFacts(
        convs=(6, 8, 12, 6),
        base=64,
        about="resnet34-imagenet-bireal-fp1x1 to 1/16, decoder 256-128-64 to 1/4, skips added",
        paper="encoder of Bi-Real Net (ECCV 2018)",
    ),
    "dense-resnet18-bireal-half": DenseFacts(
        convs=(4, 4, 4, 4),
        base=32,
        about="dense-resnet18-bireal with half the channels everywhere",
        paper="none: for small machines",
    ),
}
"""Every dense net by name."""


def create_dense(
    name: str,
    *,
    method: str,
    heads: Mapping[str, int],
    channels: int,
    image_size: tuple[int, int],
    bottleneck: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Build the dense net called `name`, binarized with `method` ("float" for its float twin).

    The initial weights depend on `seed` alone, as those of `bitlens.models.create` do.

    Args:
        name: a key of `DENSE_NETS`.
        method: a key of `bitlens.methods.METHODS`, `module:ATTRIBUTE`, or "float".
        heads: channels of every task's outputs, in the order of the net's output channels.
        channels: image channels.
        image_size: height and width of the images in pixels; other sizes can be given to the net.
        bottleneck: weight beta of a Gaussian information bottleneck behind the encoder; 0 builds none.
        seed: seed of the initial weights.

    Raises:
        BitlensError: unknown net or method, no head or one without channels, images smaller than the
            net's total stride, or a negative bottleneck.
    """
    from bitlens.models.construct import construct
    from bitlens.models.dense.net import dense_net

    if name not in DENSE_NETS:
        raise unknown("model", name, DENSE_NETS)
    check_name(method, also=(FLOAT,))
    return construct(
        lambda nonlinearity: dense_net(
            DENSE_NETS[name],
            heads=heads,
            channels=channels,
            image_size=image_size,
            bottleneck=bottleneck,
            nonlinearity=nonlinearity,
        ),
        method=method,
        seed=seed,
        image=(channels, *image_size),
    )
