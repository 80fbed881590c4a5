"""Average the answers of several nets drawn from one that was trained as a distribution (VISPA)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.methods.vispa import GaussianWeight
from bitlens.models.layers import binary_layers


@torch.no_grad()
def ensemble(net: nn.Module, images: Tensor, samples: int) -> Tensor:
    """Mean logits of `samples` nets whose weights are drawn from the trained Gaussians.

    Draw s of a layer depends on the layer's seed and s alone: the members of a trained net are the same
    in every call. Batch norm uses its statistics as they are. The net runs in evaluation mode and is left
    as it was.

    Args:
        net: a net with layers of the method `vispa`, of rank 1 or more.
        images: one batch as the net takes it.
        samples: members of the ensemble; each costs a forward pass.

    Returns:
        What the net returns, averaged over the members.

    Raises:
        BitlensError: `samples` is not positive, or nothing in the net can be drawn.
    """
    if samples < 1:
        raise BitlensError(f"ensemble: samples={samples}; give at least 1")
    drawn = [
        layer.weight_binarizer
        for layer in binary_layers(net).values()
        if isinstance(layer.weight_binarizer, GaussianWeight)
    ]
    if not drawn:
        raise BitlensError(
            "ensemble: no layer of the net has a distribution to draw from; train one with method='vispa'"
        )
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        return torch.stack([_answer(net, drawn, images, s) for s in range(samples)]).mean(0)
    finally:
        for binarizer in drawn:
            binarizer.draw = None
        for module in training:
            module.training = True


def _answer(net: nn.Module, drawn: list[GaussianWeight], images: Tensor, draw: int) -> Tensor:
    for binarizer in drawn:
        binarizer.draw = draw
    return net(images)
