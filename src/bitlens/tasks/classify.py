"""Classification: cross-entropy, and top-1 evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from bitlens.tasks.step import Task


class ClassifyTask(Task):
    """One class per image; truth is int64 (n,)."""

    headline = "accuracy"

    def __init__(
        self,
        net: nn.Module,
        objective: nn.Module | None = None,
        *,
        label_smoothing: float = 0.0,
        **parts: Any,
    ) -> None:
        super().__init__(net, objective, **parts)
        self.label_smoothing = label_smoothing

    def task_loss(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy of logits (n, classes), nats."""
        return F.cross_entropy(outputs, truth, label_smoothing=self.label_smoothing)

    def score(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """Share of images whose largest logit is their class."""
        return (outputs.argmax(1) == truth).float().mean()

    def labels(self, truth: Tensor) -> Tensor:
        """The classes themselves."""
        return truth

    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """`accuracy` and `loss` of the net; see `evaluate`."""
        accuracy, loss = evaluate(self.net, batches)
        return {"accuracy": accuracy, "loss": loss}


@torch.no_grad()
def evaluate(net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Top-1 accuracy in [0, 1] and mean cross-entropy (nats), over all processes' batches.

    Args:
        net: switched to evaluation mode for the pass, and back.
        batches: (images float (n, c, h, w), labels (n,)).
    """
    device = next(net.parameters()).device
    accuracy = MeanMetric().to(device)
    # A NaN must show; the default leaves such images out of the mean.
    loss = MeanMetric(nan_strategy="disable").to(device)
    was_training = net.training
    net.eval()
    try:
        for images, labels in batches:
            logits = net(images)
            accuracy.update((logits.argmax(1) == labels).float())
            loss.update(F.cross_entropy(logits, labels, reduction="none"))
    finally:
        net.train(was_training)
    return float(accuracy.compute()), float(loss.compute())
