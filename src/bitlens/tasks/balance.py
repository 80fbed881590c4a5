"""How the losses of several heads become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from bitlens.tasks.pooled import PixelSum


class FixedBalance(nn.Module):
    """A weighted sum of the heads' mean losses.

    Args:
        weights: factor of each head's loss.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def forward(self, losses: Mapping[str, PixelSum]) -> Tensor:
        """The sum, a scalar; a head of which no pixel is known adds 0."""
        return torch.stack(
            [self.weights[head] * loss.mean() for head, loss in losses.items()]
        ).sum()


class UncertaintyBalance(nn.Module):
    """Losses divided by variances that are learned with the net.

    Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
    and Semantics", CVPR 2018, equation 10: a regression loss over 2 sigma^2, a classification loss over
    sigma^2, and log sigma for each. With s = log sigma^2, which cannot divide by zero: exp(-s) L / 2 + s / 2
    for a regression, exp(-s) L + s / 2 for classes.

    Attributes:
        log_variances: s of each head, one scalar each, 0 at the start.
    """

    def __init__(self, heads: Iterable[str], *, regressions: Iterable[str]) -> None:
        super().__init__()
        self.log_variances = nn.ParameterDict({name: torch.zeros(()) for name in heads})
        self.regressions = frozenset(regressions)

    def forward(self, losses: Mapping[str, PixelSum]) -> Tensor:
        """The sum, a scalar; a head of which no pixel is known adds 0 and its variance stays."""
        terms = []
        for head, loss in losses.items():
            s = self.log_variances[head]
            factor = 0.5 if head in self.regressions else 1.0
            term = factor * torch.exp(-s) * loss.mean() + s / 2
            terms.append(term * (loss.count > 0))
        return torch.stack(terms).sum()
