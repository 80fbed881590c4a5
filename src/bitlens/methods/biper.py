"""BiPer: binary weights as the sign of a sine of the latent weight.

Forward: alpha_c sgn(sin(w0 W)), w0 = 20, alpha_c learned per output channel from U(0, 1); activations
sgn(x). The first of two training stages has real weights alpha_c sin(w0 W). Backward: straight through
the sign, then w0 cos(w0 W), times alpha; POLY for activations, at x divided by each sample's standard
deviation, through which the gradient flows as well. Added to the loss: tau mean sin^2(w0 W) per layer.

The paper's stages differ in tau (0.037 and 0.0468 for ResNet-18 on CIFAR-10) and in rate and decay;
here both use tau = 0.037 and the recipe's rate and decay, two thirds of the epochs and one third.
alpha multiplies the convolution's output in the paper, which is the same as scaling the weight. The
paper divides by the deviation in training only; a positive factor changes no sign, so here it acts in
the gradient alone.

Source: Vargas, Correa, Hinojosa, Arguello, "BiPer: Binary Neural Networks using a Periodic Function",
CVPR 2024, and its released code (where the term's sign is as above; it draws sin(w0 W) to zero).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from bitlens.bits import polynomial, sample_scaled, sign, sign_values, straight_through
from bitlens.methods.contract import (
    ActivationBinarizer,
    Method,
    Stage,
    WeightBinarizer,
    per_filter,
)

FREQUENCY = 20.0
"""w0, radians per unit of latent weight."""
TAU = 0.037


class PeriodicWeight(WeightBinarizer):
    """alpha_c sgn(sin(w0 W)), alpha learned."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(filters))

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of the sine and alpha."""
        return sign_values((weight.detach() * FREQUENCY).sin()), self.alpha.detach().clone()

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, differentiable through the sine and in alpha."""
        signs = sign((weight * FREQUENCY).sin(), straight_through)
        return signs * per_filter(self.alpha, weight)

    def relaxed(self, weight: Tensor) -> Tensor:
        """alpha_c sin(w0 W), the weight of the first stage."""
        return (weight * FREQUENCY).sin() * per_filter(self.alpha, weight)

    def penalty(self, weight: Tensor) -> Tensor:
        """tau mean sin^2(w0 W)."""
        return TAU * (weight * FREQUENCY).sin().square().mean()


BIPER = Method(
    title="BiPer: sign of a sine, two stages",
    paper="Vargas et al., CVPR 2024",
    weight=lambda latent, progress: PeriodicWeight(latent.shape[0]),
    activation=lambda channels, progress: ActivationBinarizer(
        partial(sample_scaled, inner=polynomial)
    ),
    nonlinearity=lambda channels: nn.Hardtanh(),
    plan=(Stage(share=2 / 3, binary_weights=False), Stage(share=1 / 3)),
)
