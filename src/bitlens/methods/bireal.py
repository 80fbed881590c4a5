"""Bi-Real Net: a shortcut around every convolution and a tighter surrogate for the sign.

Forward: alpha_c sgn(W_c), alpha_c = mean |W_c| (no gradient through it); activations sgn(x).
Backward: CLIP(1) on W, not multiplied by alpha; max(0, 2 - 2|x|) on activations. The block has no
non-linearity besides the sign.

Source: Liu, Wu, Luo, Yang, Liu, Cheng, "Bi-Real Net", ECCV 2018.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitlens.bits import hard_tanh, polynomial, sign_values
from bitlens.methods.contract import ActivationBinarizer, Method, WeightBinarizer, scaled_sign
from bitlens.methods.xnor import mean_magnitude


class MeanMagnitudeWeight(WeightBinarizer):
    """alpha_c sgn(W_c) whose gradient skips alpha."""

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs and the mean magnitude per filter."""
        return sign_values(weight.detach()), mean_magnitude(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, differentiable by CLIP(1)."""
        signs, scale = self.decompose(weight)
        return scaled_sign(weight, signs, scale, hard_tanh)


BIREAL = Method(
    title="Bi-Real Net: polynomial surrogate, shortcut around every convolution",
    paper="Liu et al., ECCV 2018",
    weight=lambda latent, progress: MeanMagnitudeWeight(),
    activation=lambda channels, progress: ActivationBinarizer(polynomial),
    nonlinearity=lambda channels: nn.Identity(),
)
