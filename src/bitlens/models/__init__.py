"""Nets and layers: the binary layers, `binarize`, the layer table, and the nets papers use.

This file imports no torch; `create` and the leaf modules do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitlens.errors import BitlensError, unknown
from bitlens.methods import check_name

if TYPE_CHECKING:
    from torch import nn

FLOAT = "float"
"""In place of a method's name: the float twin, same topology, ReLU for the block's non-linearity."""


def create(
    name: str, *, method: str, classes: int, channels: int, image_size: int, seed: int = 0
) -> nn.Module:
    """Build the net called `name`, binarized with `method` ("float" for its float twin).

    The initial weights depend on `seed` alone, and the float twin and every method start from the
    same draw. Torch's global random state is left as it was.

    Args:
        name: a key of `bitlens.models.nets.NETS`.
        method: a key of `bitlens.methods.METHODS`, `module:ATTRIBUTE`, or "float".
        classes: number of outputs.
        channels: image channels.
        image_size: side of the square input in pixels.
        seed: seed of the initial weights.

    Raises:
        BitlensError: unknown net or method, or an image too small for the net.
    """
    from bitlens.models.construct import construct
    from bitlens.models.nets import NETS

    if name not in NETS:
        raise unknown("model", name, NETS)
    check_name(method, also=(FLOAT,))
    if classes < 2:
        raise BitlensError(f"create: classes={classes}; a classifier needs at least 2")

    return construct(
        lambda nonlinearity: NETS[name].build(
            classes=classes, channels=channels, image_size=image_size, nonlinearity=nonlinearity
        ),
        method=method,
        seed=seed,
        image=(channels, image_size, image_size),
    )
