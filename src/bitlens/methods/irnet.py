"""IR-Net: balanced, standardised weights and a surrogate that sharpens during training.

Forward: What = (W_c - mean) / std (unbiased) per filter, 2^round(log2 mean|What|) sgn(What);
activations sgn(x). Backward: EDE for both, k t (1 - tanh^2(t x)) with t from 1e-3 to 10 over
training and k = max(1/t, 1); the gradient flows through the standardisation, not the scale.

Source: Qin, Gong, Liu, Shen, Wei, Yu, Song, "IR-Net", CVPR 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitlens.bits import error_decay, error_decay_slopes, sign, sign_values
from bitlens.methods.contract import (
    ActivationBinarizer,
    Method,
    Progress,
    WeightBinarizer,
    per_filter,
)


class ErrorDecay:
    """EDE at the net's current progress; holds the Progress, so the surrogate needs no epoch."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, grad: Tensor, x: Tensor) -> Tensor:
        """Gradient of the sign's input."""
        t, k = error_decay_slopes(self.progress.value)
        return error_decay(grad, x, t, k)


def standardize(weight: Tensor) -> Tensor:
    """Every filter with mean 0 and unbiased standard deviation 1, differentiable.

    A filter whose entries are all equal, up to rounding, has no direction; it becomes all zeros
    (signs +1) and gets the gradient of the centring alone, where the formula would divide zero by
    zero.
    """
    flat = weight.flatten(1)
    centered = flat - flat.mean(1, keepdim=True)
    freedom = max(flat.shape[1] - 1, 1)
    deviation = torch.linalg.vector_norm(centered, dim=1, keepdim=True) / freedom**0.5
    rounding = torch.finfo(flat.dtype).eps * flat.detach().abs().amax(1, keepdim=True)
    constant = deviation.detach() <= rounding
    centered = centered - centered.detach().masked_fill(~constant, 0.0)
    return (centered / deviation.masked_fill(constant, 1.0)).view_as(weight)


class LibraWeight(WeightBinarizer):
    """Libra parameter binarization: standardise, take signs, scale by a power of two."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.surrogate = ErrorDecay(progress)

    def _scale(self, standardized: Tensor) -> Tensor:
        magnitude = standardized.detach().abs().flatten(1).mean(1)
        return torch.where(
            magnitude > 0, magnitude.log2().round().exp2(), torch.ones_like(magnitude)
        )

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of the standardised weight and the power-of-two scale."""
        standardized = standardize(weight.detach())
        return sign_values(standardized), self._scale(standardized)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, differentiable by EDE and through the standardisation."""
        standardized = standardize(weight)
        signs = sign(standardized, self.surrogate)
        return signs * per_filter(self._scale(standardized), weight)


IRNET = Method(
    title="IR-Net: Libra weights and the error decay estimator",
    paper="Qin et al., CVPR 2020",
    weight=lambda latent, progress: LibraWeight(progress),
    activation=lambda channels, progress: ActivationBinarizer(ErrorDecay(progress)),
    nonlinearity=lambda channels: nn.Hardtanh(),
)
