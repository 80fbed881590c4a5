"""A float teacher: frozen, in evaluation mode, never part of the student's state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitlens.objectives.taps import last_linear


class Teacher:
    """Runs a float net without gradient and without touching its batch-norm statistics.

    Not an nn.Module, so an objective that holds one neither trains, nor saves, nor switches it to
    training mode with itself.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net.eval().requires_grad_(False)
        self._feature: Tensor | None = None
        last_linear(net).register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._feature = inputs[0]

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Teacher outputs (n, classes)."""
        self.net.eval()
        return self.net(images)

    def feature(self, images: Tensor) -> Tensor:
        """Input of the teacher's classifier (n, k)."""
        self.logits(images)
        assert self._feature is not None
        feature, self._feature = self._feature, None
        return feature
