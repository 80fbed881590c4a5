"""What an objective returns for one step."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Term:
    """One objective's value.

    Attributes:
        loss: scalar to add to the task's loss, before its weight.
        bound: lower bound on the mutual information in nats, detached, averaged over layers with the
            same weights as the loss; None for objectives that bound nothing.
        ceiling: the largest value `bound` can take, nats.
        valid: False when `bound` is only a score: negatives were not drawn from the product of
            marginals (same class left out, regions of one image) or their keys are stale.
        layers: the bound of each layer, nats.
    """

    loss: Tensor
    bound: Tensor | None = None
    ceiling: float | None = None
    valid: bool | None = None
    layers: dict[str, Tensor] = field(default_factory=dict)
