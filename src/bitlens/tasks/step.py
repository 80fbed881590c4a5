"""What every task is: a net and the losses on one batch, in one module, and a way to judge the net.

One module holds the net and what is added to its loss, so one `parameters()` call feeds the optimizer
and one DDP wrapper averages everything: heads that are never trained cannot happen by omission.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bitlens.models.layers import penalty
from bitlens.objectives.term import Term


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """One training step: total loss, task loss, what the net said, and what was added to the loss."""

    loss: Tensor
    task_loss: Tensor
    outputs: Tensor
    """(n, classes) or (n, channels, h, w)."""
    score: Tensor
    """Share of images or of known pixels that are right, in [0, 1]; a number without gradient."""
    term: Term | None
    """The objective's."""
    distilled: Term | None = None
    """The distillation's."""


class Task(nn.Module, ABC):
    """The sum of a net's losses on one batch.

    loss = hard_labels * the task's loss + weight * objective + distill_weight * distillation + the
    method's own penalty.

    Attributes:
        headline: the metric of `evaluate` that a run is known by; a share in [0, 1], more is better.
    """

    headline: str

    def __init__(
        self,
        net: nn.Module,
        objective: nn.Module | None = None,
        *,
        weight: float = 0.0,
        distillation: nn.Module | None = None,
        distill_weight: float = 0.0,
        hard_labels: float = 1.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.objective = objective
        self.distillation = distillation
        self.weight, self.distill_weight = weight, distill_weight
        self.hard_labels = hard_labels

    @abstractmethod
    def task_loss(self, outputs: Tensor, truth: Any) -> Tensor:
        """The loss of what the net said, in nats or metres, on average over images or pixels."""

    @abstractmethod
    def score(self, outputs: Tensor, truth: Any) -> Tensor:
        """Share of images or known pixels that are right; NaN where nothing is known."""

    @abstractmethod
    def evaluate(self, batches: Iterable[tuple[Tensor, Any]]) -> dict[str, float]:
        """Metrics of the net in evaluation mode, over all processes' batches.

        Args:
            batches: (images float (n, c, h, w), their truth).

        Returns:
            `loss`, `headline` and what else the task measures, by name.
        """

    def labels(self, truth: Any) -> Tensor | None:
        """One class per image, for objectives that ask for it; None where there is none."""
        return None

    def forward(self, images: Tensor, truth: Any, indices: Tensor) -> StepOutput:
        """One forward pass of the net, and the losses on it.

        Args:
            images: (n, c, h, w) float.
            truth: what the task compares with.
            indices: (n,) positions in the training set.
        """
        outputs = self.net(images)
        task_loss = self.task_loss(outputs, truth)
        loss = self.hard_labels * task_loss
        if (added := penalty(self.net)) is not None:
            loss = loss + added
        labels, term, distilled = self.labels(truth), None, None
        if self.objective is not None:
            term = self.objective(labels=labels, indices=indices)
            loss = loss + self.weight * term.loss
        if self.distillation is not None:
            distilled = self.distillation(labels=labels, indices=indices)
            loss = loss + self.distill_weight * distilled.loss
        return StepOutput(
            loss=loss,
            task_loss=task_loss,
            outputs=outputs,
            score=self.score(outputs.detach(), truth),
            term=term,
            distilled=distilled,
        )
