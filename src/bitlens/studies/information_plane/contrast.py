"""CMIM on a stack of nets: InfoNCE between each hidden layer's latent activations and its signs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.objectives.config import PRESETS
from bitlens.studies.information_plane.stack import Layer
from bitlens.training.streams import seed_for

TUNED = PRESETS["tuned"]


class StackedContrast(nn.Module):
    """Linear heads of every hidden layer of every net, trained with the nets.

    The settings are those of the preset "tuned": InfoNCE over the batch, temperature 1, unit vectors of
    64 dimensions, all layers alike, both sides receive the gradient.

    Args:
        widths: units of each hidden layer.
        seeds: one per net.
    """

    def __init__(self, widths: Sequence[int], seeds: Sequence[int]) -> None:
        super().__init__()
        generators = [torch.Generator().manual_seed(seed_for(seed, "heads")) for seed in seeds]
        self.heads = nn.ParameterList(
            nn.Parameter(torch.stack([_start(units, g) for g in generators])) for units in widths
        )

    def forward(self, layers: Sequence[Layer]) -> Tensor:
        """The loss of each net, (nets,), nats; mean over layers, anchors and both directions."""
        return torch.stack(
            [_loss(layer, heads) for layer, heads in zip(layers, self.heads, strict=True)]
        ).mean(0)


def _start(units: int, generator: torch.Generator) -> Tensor:
    bound = 1 / math.sqrt(units)
    return torch.empty(2, units, TUNED.width).uniform_(-bound, bound, generator=generator)


def _loss(layer: Layer, heads: Tensor) -> Tensor:
    latent = F.normalize(layer.latent @ heads[:, 0], dim=2)
    code = F.normalize(layer.output @ heads[:, 1], dim=2)
    scores = latent @ code.mT / TUNED.temperature
    nets, batch, _ = scores.shape
    # A row holds the positive and all its negatives, so InfoNCE is the cross-entropy of the diagonal.
    own = torch.arange(batch).repeat(nets)
    sides = [
        F.cross_entropy(side.reshape(-1, batch), own, reduction="none").view(nets, batch).mean(1)
        for side in (scores, scores.mT)
    ]
    return (sides[0] + sides[1]) / 2
