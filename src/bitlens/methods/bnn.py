"""BNN: plain signs and the straight-through estimator.

Forward: sgn(W), sgn(x), no scale. Backward: CLIP(1) for both. The latent weights are clamped to
[-1, 1] after each step; otherwise they drift beyond the clip and stop learning.

Source: Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, "Binarized Neural Networks", NeurIPS 2016.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitlens.bits import hard_tanh, sign, sign_values
from bitlens.methods.contract import ActivationBinarizer, Method, WeightBinarizer


class PlainSignWeight(WeightBinarizer):
    """sgn(W) with scale 1 and the CLIP(1) gradient."""

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of the latent weight and a scale of ones."""
        signs = sign_values(weight.detach())
        return signs, weight.new_ones(weight.shape[0])

    def forward(self, weight: Tensor) -> Tensor:
        """sgn(W), differentiable by CLIP(1)."""
        return sign(weight, hard_tanh)


BNN = Method(
    title="BNN: signs with the straight-through estimator",
    paper="Hubara et al., NeurIPS 2016",
    weight=lambda latent, progress: PlainSignWeight(),
    activation=lambda channels, progress: ActivationBinarizer(hard_tanh),
    nonlinearity=lambda channels: nn.Hardtanh(),
    clamp=1.0,
)
