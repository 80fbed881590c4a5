"""What one epoch's training steps amount to: means over images, for metrics.jsonl and the display."""

from __future__ import annotations

import math
from typing import Any

from bitlens.tasks.step import StepOutput


class Averages:
    """Running sums of one epoch, weighted by images; what a step could not measure (NaN) is left out.

    Attributes:
        images: seen so far by this process.
    """

    def __init__(self) -> None:
        self.images = 0
        self._sums: dict[str, float] = {}
        self._images: dict[str, int] = {}
        self._bound_valid: bool | None = None

    def add(self, output: StepOutput, loss: float, images: int) -> None:
        """Count one step's `output` on so many images, whose total loss is `loss`."""
        values = {"loss": loss, "accuracy": output.score.item()}
        if output.term is not None:
            values["objective"] = output.term.loss.item()
            if output.term.bound is not None and output.term.ceiling is not None:
                values |= {"bound": output.term.bound.item(), "ceiling": output.term.ceiling}
                values |= {f"bound/{k}": v.item() for k, v in output.term.layers.items()}
            self._bound_valid = output.term.valid
        if output.distilled is not None:
            values["distilled"] = output.distilled.loss.item()
        self.images += images
        for name, value in values.items():
            if not math.isnan(value):
                self._sums[name] = self._sums.get(name, 0.0) + value * images
                self._images[name] = self._images.get(name, 0) + images

    def mean(self, name: str) -> float | None:
        """Mean of `loss`, `accuracy`, `objective`, `distilled`, `bound` or `ceiling`; None where absent."""
        return self._sums[name] / self._images[name] if name in self._sums else None

    def record(self) -> dict[str, Any]:
        """The means by their names in metrics.jsonl."""
        bounds = [name for name in self._sums if name.startswith("bound/")]
        return {
            "train_loss": self.mean("loss"),
            "train_accuracy": self.mean("accuracy"),
            "objective_loss": self.mean("objective"),
            "distill_loss": self.mean("distilled"),
            "bound": self.mean("bound"),
            "ceiling": self.mean("ceiling"),
            "bound_valid": self._bound_valid if "bound" in self._sums else None,
            "bound_layers": {name.removeprefix("bound/"): self.mean(name) for name in bounds},
        }
