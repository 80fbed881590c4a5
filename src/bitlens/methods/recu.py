"""ReCU: the weights in the tails of the distribution, whose signs no longer change, are pulled back.

Forward: W~ = 2 sqrt(2) (W_c - mean) / sqrt(var + 1e-5) per filter (unbiased, so a Laplace weight gets
b = 2), clamped to [-Q, Q] with Q = -b ln(2 - 2 tau), b = mean |W~| of the layer, not differentiated:
the tau-quantile of a Laplace distribution. The binary weight is alpha_c sgn(W~), alpha learned and
drawn from U(0, 1) at first; it may become negative. Activations sgn(x).
Backward: straight through the sign of W~; the clamp has its own derivative (0 outside [-Q, Q]), and the
gradient flows through the standardisation, which is how a clamped weight still moves.
Activations: max(0, 2 - 2|u|) at u = x / sqrt(var + 1e-5), the variance that of each sample and
differentiated. The division leaves signs alone, so evaluation needs no statistics.
Schedule: tau = A e^t + B from 0.85 at t = 0 to 0.99 at t = 1 (the paper: e to the epoch's share).

Source: Xu, Lin, Liu, Chen, Shao, Gao, Tian, Ji, "ReCU: Reviving the Dead Weights in Binary Neural
Networks", ICCV 2021, and its released code.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from bitlens.bits import polynomial, sample_scaled, sign, straight_through
from bitlens.methods.contract import (
    ActivationBinarizer,
    Method,
    Progress,
    WeightBinarizer,
    per_filter,
)

TAU_FIRST, TAU_LAST = 0.85, 0.99


def standardize_softly(weight: Tensor, eps: float = 1e-5) -> Tensor:
    """(W - mean) / sqrt(unbiased variance + eps) of every filter (o, ...), differentiable.

    `eps` bounds the gradient of a filter whose weights have decayed; one with equal entries becomes 0.
    """
    flat = weight.flatten(1)
    centered = flat - flat.mean(1, keepdim=True)
    freedom = max(flat.shape[1] - 1, 1)
    variance = centered.square().sum(1, keepdim=True) / freedom
    return (centered * (variance + eps).rsqrt()).view(weight.shape)


class LearnedScaleWeight(WeightBinarizer):
    """alpha_c times signs of a real weight that a subclass derives from the latent one.

    A factor alpha_c on the convolution's output is the same number on the weight, where it costs
    nothing; its gradient is that of the product.
    """

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)

    def real(self, weight: Tensor) -> Tensor:
        """The real weight whose signs are taken, shaped as the latent one, differentiable."""
        raise NotImplementedError

    def signs(self, real: Tensor) -> Tensor:
        """Signs of `real` with the method's gradient."""
        raise NotImplementedError

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of the derived weight and the learned scale."""
        with torch.no_grad():
            return self.signs(self.real(weight)), self.scale.detach()

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs; scale and latent weight get the gradients of the product."""
        return self.signs(self.real(weight)) * per_filter(self.scale, weight)

    def relaxed(self, weight: Tensor) -> Tensor:
        """The scaled weight before its sign."""
        return self.real(weight) * per_filter(self.scale, weight)


def clamp_share(t: float) -> float:
    """The quantile tau at progress t."""
    slope = (TAU_LAST - TAU_FIRST) / (math.e - 1)
    return slope * math.exp(t) + TAU_FIRST - slope


class RectifiedClampWeight(LearnedScaleWeight):
    """alpha_c sgn(clamp(W~, -Q, Q))."""

    def __init__(self, filters: int, progress: Progress) -> None:
        super().__init__(torch.rand(filters))
        self.progress = progress

    def real(self, weight: Tensor) -> Tensor:
        """W~ clamped to the tau-quantile of the layer."""
        standardized = standardize_softly(weight) * (2 * math.sqrt(2))
        quantile = -math.log(2 - 2 * clamp_share(self.progress.value))
        bound = standardized.detach().abs().mean() * quantile
        return standardized.clamp(-bound, bound)

    def signs(self, real: Tensor) -> Tensor:
        """Signs, straight-through."""
        return sign(real, straight_through)


RECU = Method(
    title="ReCU: weights clamped at a rising quantile, learned scales",
    paper="Xu et al., ICCV 2021",
    weight=lambda latent, progress: RectifiedClampWeight(latent.shape[0], progress),
    activation=lambda channels, progress: ActivationBinarizer(
        partial(sample_scaled, inner=polynomial)
    ),
    nonlinearity=lambda channels: nn.Hardtanh(),
)
