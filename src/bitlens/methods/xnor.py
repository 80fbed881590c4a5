"""XNOR-Net: one scale per filter, the mean magnitude of its latent weights.

Forward: alpha_c sgn(W_c) with alpha_c = mean |W_c|; activations sgn(x). The input-dependent map K of
the paper needs a box filter over real activations at run time and is left out, so this is the
deployable variant. Backward on W, per entry of a filter with n weights: g (1/n + alpha 1[|W| < 1]);
on activations CLIP(1).

Source: Rastegari, Ordonez, Redmon, Farhadi, "XNOR-Net", ECCV 2016.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitlens.bits import hard_tanh, sign_values
from bitlens.methods.contract import (
    ActivationBinarizer,
    Method,
    WeightBinarizer,
    per_filter,
    scaled_sign,
)


def mean_magnitude(weight: Tensor) -> Tensor:
    """Mean |W| of every filter: (o, ...) -> (o,)."""
    return weight.detach().abs().flatten(1).mean(1)


class XNORWeight(WeightBinarizer):
    """alpha_c sgn(W_c) with the two-term gradient of the paper."""

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs and the mean magnitude per filter."""
        return sign_values(weight.detach()), mean_magnitude(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, differentiable as in the paper."""
        signs, scale = self.decompose(weight)
        per_weight = 1.0 / weight[0].numel()

        def two_terms(grad: Tensor, latent: Tensor) -> Tensor:
            clipped = hard_tanh(grad, latent).mul_(per_filter(scale, latent))
            return clipped.add_(grad, alpha=per_weight)

        return scaled_sign(weight, signs, scale, two_terms)


XNOR = Method(
    title="XNOR-Net: mean-magnitude scale per filter (without the run-time map K)",
    paper="Rastegari et al., ECCV 2016",
    weight=lambda latent, progress: XNORWeight(),
    activation=lambda channels, progress: ActivationBinarizer(hard_tanh),
    nonlinearity=lambda channels: nn.Hardtanh(),
)
