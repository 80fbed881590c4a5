"""One draw of initial weights, whatever the method: what every `create` shares."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from bitlens.methods import get
from bitlens.methods.contract import own_nonlinearity
from bitlens.models import FLOAT
from bitlens.models.blocks import FloatNet, Nonlinearity
from bitlens.models.convert import binarize


def construct(
    build: Callable[[Nonlinearity], FloatNet],
    *,
    method: str,
    seed: int,
    image: tuple[int, int, int],
) -> nn.Module:
    """Build a float net and binarize it, so that the float twin and every method start alike.

    The initial weights depend on `seed` alone. Torch's global random state is left as it was.

    Args:
        build: builds the float net with the given non-linearity, drawing from torch's global generator.
        method: a key of `bitlens.methods.METHODS`, `module:ATTRIBUTE`, or "float".
        seed: seed of the initial weights.
        image: channels, height and width of an image, for parameters whose shape follows from it.
    """
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
        net = build(nonlinearity)
        net.train()
        if method == FLOAT:
            return net
        # Inside the fork: what a method draws (a rotation, a codebook) depends on the seed alone too.
        binary = binarize(net, method, keep_float=net.keep_float)
    _settle_lazy_parameters(binary, image)
    return binary


def _settle_lazy_parameters(net: nn.Module, image: tuple[int, int, int]) -> None:
    """Give parameters whose shape depends on the image their values, so that an optimizer can have them."""
    if any(isinstance(p, nn.UninitializedParameter) for p in net.parameters()):
        net.eval()
        with torch.no_grad():
            net(torch.zeros(1, *image))
        net.train()
