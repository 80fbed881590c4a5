"""Classification: net and losses in one module, and top-1 evaluation.

One module holds the net and what is added to its loss, so one `parameters()` call feeds the optimizer
and one DDP wrapper averages everything: heads that are never trained cannot happen by omission.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from bitlens.models.layers import penalty
from bitlens.objectives.term import Term


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """One training step: total loss, task loss, logits (n, classes), and what was added to the loss."""

    loss: Tensor
    task_loss: Tensor
    logits: Tensor
    term: Term | None
    """The objective's."""
    distilled: Term | None = None
    """The distillation's."""


class ClassifyTask(nn.Module):
    """The sum of a net's losses on one batch.

    loss = hard_labels * cross-entropy + weight * objective + distill_weight * distillation + the
    method's own penalty.
    """

    def __init__(
        self,
        net: nn.Module,
        objective: nn.Module | None,
        *,
        weight: float,
        distillation: nn.Module | None = None,
        distill_weight: float = 0.0,
        hard_labels: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.objective = objective
        self.distillation = distillation
        self.weight, self.distill_weight = weight, distill_weight
        self.hard_labels, self.label_smoothing = hard_labels, label_smoothing

    def forward(self, images: Tensor, labels: Tensor, indices: Tensor) -> StepOutput:
        """One forward pass of the net, and the losses on it.

        Args:
            images: (n, c, h, w) float.
            labels: (n,) classes.
            indices: (n,) positions in the training set.
        """
        logits = self.net(images)
        task_loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        loss = self.hard_labels * task_loss
        if (added := penalty(self.net)) is not None:
            loss = loss + added
        term = None
        if self.objective is not None:
            term = self.objective(labels=labels, indices=indices)
            loss = loss + self.weight * term.loss
        distilled = None
        if self.distillation is not None:
            distilled = self.distillation(labels=labels, indices=indices)
            loss = loss + self.distill_weight * distilled.loss
        return StepOutput(
            loss=loss, task_loss=task_loss, logits=logits, term=term, distilled=distilled
        )


@torch.no_grad()
def evaluate(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], classes: int
) -> tuple[float, float]:
    """Top-1 accuracy in [0, 1] and mean cross-entropy (nats), over all processes' batches.

    Args:
        net: switched to evaluation mode for the pass, and back.
        batches: (images float (n, c, h, w), labels (n,)).
        classes: number of classes.
    """
    device = next(net.parameters()).device
    accuracy = MulticlassAccuracy(classes, average="micro").to(device)
    # A NaN must show; the default leaves such images out of the mean.
    loss = MeanMetric(nan_strategy="disable").to(device)
    was_training = net.training
    net.eval()
    try:
        for images, labels in batches:
            logits = net(images)
            accuracy.update(logits, labels)
            loss.update(F.cross_entropy(logits, labels, reduction="none"))
    finally:
        net.train(was_training)
    return float(accuracy.compute()), float(loss.compute())
