"""Nets and layers: the binary layers, `binarize`, the layer table, and the nets papers use.

This file imports no torch; `create` and the leaf modules do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitlens.errors import BitlensError, unknown
from bitlens.methods import check_name

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    import torch
    from torch import nn

    from bitlens.methods import get
    from bitlens.methods.contract import own_nonlinearity
    from bitlens.models.convert import binarize
    from bitlens.models.nets import NETS

    if name not in NETS:
        raise unknown("model", name, NETS)
    check_name(method, also=(FLOAT,))
    if classes < 2:
        raise BitlensError(f"create: classes={classes}; a classifier needs at least 2")

    apart = torch.Generator().manual_seed(seed)

    def nonlinearity(width: int) -> nn.Module:
        if method == FLOAT:
            return nn.ReLU()
        # What a non-linearity draws must not shift the draws of the layers behind it.
        outside = torch.get_rng_state()
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=apart)))
        module = own_nonlinearity(get(method), width)
        torch.set_rng_state(outside)
        return module

    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed every GPU as well, and those states are not forked here.
        torch.default_generator.manual_seed(seed)
        net = NETS[name].build(
            classes=classes, channels=channels, image_size=image_size, nonlinearity=nonlinearity
        )
        net.train()
        if method == FLOAT:
            return net
        # Inside the fork: what a method draws (a rotation, a codebook) depends on the seed alone too.
        binary = binarize(net, method, keep_float=net.keep_float)
    _settle_lazy_parameters(binary, torch.zeros(1, channels, image_size, image_size))
    return binary


def _settle_lazy_parameters(net: nn.Module, image: Tensor) -> None:
    """Give parameters whose shape depends on the image their values, so that an optimizer can have them."""
    import torch
    from torch import nn

    if any(isinstance(p, nn.UninitializedParameter) for p in net.parameters()):
        net.eval()
        with torch.no_grad():
            net(image)
        net.train()
