"""OvSW: larger gradients for filters that hardly move, decay for weights that never flip.

Forward: E_c|What| sgn(W), What the standardised filter (used for the scale only, no gradient through
it); activations sgn(x). Backward: straight through for W, times the scale; POLY for activations, at x
divided by each sample's standard deviation (a constant for the gradient).
Between backward pass and step, in this order:
    AGS, per filter: where |g| / |W| < delta, g is multiplied by delta |W| / |g|, |g| and |W| Euclidean
        norms of at least 1e-6 and 1e-3.
    SAD, per weight: lambda W is added to g where the weight is silent, that is f < 1e-4 with
        f <- 0.999 f + 0.001 [the last step flipped its sign], f = 0 at first.
f counts steps, not progress. It is saved with the net; a flip is seen by comparing signs right before
and right after the step, so nothing else has to be.

delta = 0.04 and lambda = 9e-4 are those of the released script for ResNet-20 on CIFAR-10. ImageNet runs
use delta = 0.01 and lambda = 2e-5: `ovsw(delta=0.01, silent_decay=2e-5)`.

Under Adam most of AGS is divided out again: a step is the gradient over its own running magnitude, so a
factor that stays the same from step to step changes nothing. What remains is how the factor varies, and
its weight against SAD, which is added after it. The paper trains with SGD.

The paper divides by the deviation in training only. A positive factor changes no sign, so here it acts
in the gradient alone and evaluation is the same net.

Source: Xiang, Chen, Zhang, Chen, Wu, Liu, "OvSW: Overcoming Silent Weights for Accurate Binary Neural
Networks", ECCV 2024, and its released code.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from bitlens.bits import polynomial, sample_scaled, sign, sign_values, straight_through
from bitlens.methods.contract import ActivationBinarizer, Method, WeightBinarizer, per_filter

MOMENTUM = 0.999
SILENT = 1e-4
"""A weight whose average of flips is below this is silent."""


def standardized_magnitude(weight: Tensor) -> Tensor:
    """E_c|What| per filter (o,), What = (W - mean) / sqrt(unbiased variance + 1e-5). No gradient."""
    flat = weight.detach().flatten(1)
    centered = flat - flat.mean(1, keepdim=True)
    variance = centered.square().sum(1) / max(flat.shape[1] - 1, 1)
    magnitude = centered.abs().mean(1) / (variance + 1e-5).sqrt()
    # A filter of equal entries has no spread to scale by; its signs count as they are.
    return magnitude.masked_fill(magnitude == 0, 1.0)


class SilentAwareWeight(WeightBinarizer):
    """E_c|What| sgn(W) with AGS and SAD around the optimizer step."""

    def __init__(self, latent: Tensor, *, delta: float, silent_decay: float) -> None:
        super().__init__()
        self.delta, self.silent_decay = delta, silent_decay
        self.register_buffer("flips", torch.zeros_like(latent))
        self._was_positive: Tensor | None = None

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs and the scale per filter."""
        return sign_values(weight.detach()), standardized_magnitude(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, straight-through."""
        return sign(weight, straight_through) * per_filter(standardized_magnitude(weight), weight)

    def before_step(self, weight: nn.Parameter) -> None:
        """AGS and SAD on the latent weight's gradient; notes the signs before the step."""
        if weight.grad is None:
            return
        grown = torch.linalg.vector_norm(weight.grad.flatten(1), dim=1).clamp_(min=1e-6)
        size = torch.linalg.vector_norm(weight.flatten(1), dim=1).clamp_(min=1e-3)
        factor = torch.where(grown / size < self.delta, self.delta * size / grown, 1.0)
        weight.grad.mul_(per_filter(factor.to(weight.grad.dtype), weight))
        silent = self.get_buffer("flips") < SILENT
        weight.grad.addcmul_(weight, silent.to(weight.dtype), value=self.silent_decay)
        self._was_positive = weight >= 0

    def after_step(self, weight: nn.Parameter) -> None:
        """Average in which signs the step has flipped."""
        if self._was_positive is None:
            return
        flipped = (weight >= 0) != self._was_positive
        flips = self.get_buffer("flips")
        flips.mul_(MOMENTUM).add_(flipped.to(flips.dtype), alpha=1 - MOMENTUM)
        self._was_positive = None


def ovsw(*, delta: float = 0.04, silent_decay: float = 9e-4) -> Method:
    """OvSW with the given threshold of AGS and strength (the paper's lambda) of SAD."""
    return Method(
        title="OvSW: adaptive gradient scaling and silence-aware decay",
        paper="Xiang et al., ECCV 2024",
        weight=lambda latent, progress: SilentAwareWeight(
            latent, delta=delta, silent_decay=silent_decay
        ),
        activation=lambda channels, progress: ActivationBinarizer(
            partial(sample_scaled, inner=polynomial, through=False)
        ),
        nonlinearity=lambda channels: nn.Hardtanh(),
    )


OVSW = ovsw()
