"""SiMaN: a weight's sign says whether its magnitude is large in its filter, not whether it is positive.

Forward: m = |What_c| with What = (W_c - mean) / sqrt(var + 1e-5) (unbiased); the floor(n / 2) largest
of a filter's n magnitudes become +1 and the others -1, times alpha_c, learned, at first mean |W_c|.
Of equal magnitudes the one that comes first is the larger, so it is always exactly the half; a filter
of one weight is +1. Activations sgn(x - mean of the sample).
Backward: straight through to m, then sgn(What) of the absolute value, through the standardisation.
Activations: max(0, 2 - 2|u|) at u = (x - mean) / sqrt(var + 1e-5) of the sample, through both.
Schedule: after every step the filters are centred and the magnitudes of the layer clipped between
their p-th and (100 - p)-th percentile, p = 15 (1 - t). The released code does so inside every forward
pass, those of evaluation included, and so changes the net by looking at it; after the step the
training sees the same weights, except in its first forward. The latent weights have no weight decay.

Source: Lin, Ji, Xu, Zhang, Chao, Lin, Shao, "SiMaN: Sign-to-Magnitude Network Binarization", TPAMI
2022, and its released code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitlens.bits import polynomial, straight_through
from bitlens.methods.contract import Method, Progress, per_filter, scaled_sign
from bitlens.methods.rbnn import SampleCentered
from bitlens.methods.recu import LearnedScaleWeight, standardize_softly
from bitlens.methods.xnor import mean_magnitude

CLIPPED = 0.15
"""Share of the magnitudes clipped at either end when training starts."""


def larger_half(magnitude: Tensor) -> Tensor:
    """+1 for the floor(n / 2) largest entries of every filter (o, ...), at least one, else -1.

    Of equal entries the first count as larger; NaN stays NaN. No gradient.
    """
    flat = magnitude.flatten(1)
    half = max(flat.shape[1] // 2, 1)
    # Selecting the smallest of the larger half takes a fifth of the time of sorting.
    smallest = flat.kthvalue(flat.shape[1] + 1 - half, dim=1, keepdim=True).values
    above, level = flat > smallest, flat == smallest
    room = half - above.sum(1, keepdim=True)
    signs = (above | (level & (level.cumsum(1) <= room))).to(flat.dtype) * 2 - 1
    return torch.where(flat.isnan(), flat, signs).view(magnitude.shape)


def percentile(values: Tensor, share: float) -> Tensor:
    """The entry of `values` in the place `share` of the way from the smallest to the largest."""
    flat = values.flatten()
    return flat.kthvalue(round(share * (flat.numel() - 1)) + 1).values


class MagnitudeWeight(LearnedScaleWeight):
    """alpha_c times +1 for the larger half of a filter's magnitudes and -1 for the rest."""

    def __init__(self, latent: Tensor, progress: Progress) -> None:
        super().__init__(mean_magnitude(latent))
        self.progress = progress

    def real(self, weight: Tensor) -> Tensor:
        """The magnitudes of the standardised weight."""
        return standardize_softly(weight).abs()

    def signs(self, real: Tensor) -> Tensor:
        """The larger half of the magnitudes, straight-through."""
        ones = real.new_ones(real.shape[0])
        return scaled_sign(real, larger_half(real.detach()), ones, straight_through)

    def relaxed(self, weight: Tensor) -> Tensor:
        """The scaled magnitude about the middle of its filter, so that both signs occur."""
        magnitude = self.real(weight).flatten(1)
        middle = magnitude.detach().median(1, keepdim=True).values
        return (magnitude - middle).view(weight.shape) * per_filter(self.scale, weight)

    def after_step(self, weight: nn.Parameter) -> None:
        """Centre the filters and clip the layer's magnitudes to the schedule's percentiles."""
        share = CLIPPED * (1 - self.progress.value)
        filters = weight.flatten(1)
        centered = filters - filters.mean(1, keepdim=True)
        magnitude = centered.abs()
        low, high = percentile(magnitude, share), percentile(magnitude, 1 - share)
        weight.copy_(magnitude.clamp_(low, high).copysign_(centered).view(weight.shape))


SIMAN = Method(
    title="SiMaN: signs from magnitudes, learned scales, samples standardised before the sign",
    paper="Lin et al., TPAMI 2022",
    weight=MagnitudeWeight,
    activation=lambda channels, progress: SampleCentered(polynomial),
    nonlinearity=lambda channels: nn.Hardtanh(),
    deploy="runtime",
    why_runtime="every image's own mean is subtracted before the sign",
    latent_decay=0.0,
)
