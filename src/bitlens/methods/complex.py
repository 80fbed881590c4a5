"""BCNN: binary complex weights and activations, as a real layer with half of its weights tied.

A complex tensor of C channels is a real one of 2C: real parts first, then imaginary parts. With weights
A + iB a complex layer is the real layer of [[A, -B], [B, A]]. Of a latent weight in four blocks
[[P, Q], [R, S]] the structured part counts: A = (P + S) / 2 and B = (R - Q) / 2.

Forward: alpha_j [[sgn A, -sgn B], [sgn B, sgn A]] with alpha_j = mean(|A_j|, |B_j|) over complex output
channel j, one number for its real and its imaginary part (no gradient through it); -sgn B is exactly
opposite even where B = 0. Activations sgn(Re x) + i sgn(Im x), which is the plain sign. Backward: CLIP(1)
on A and B, not multiplied by alpha, and on activations. Hardtanh on both parts after the block.

Half of the entries are copies, so a layer has half the free weight bits of the real layer of the same
shape, at the same number of binary operations: compare at equal weight bits with a real net of 1/sqrt(2)
of the real channels, and at equal operations with one of as many. Batch norm is complex as well after
`bitlens.models.complex.complexify`. Poolings and the sign keep the two parts of a number together; a
shortcut that pads channels on both sides (`poolpad`, `slicepad`) or a float 1x1 convolution does not, and
the doubling unit of `reactnet-a` concatenates two tensors of pairs, whose parts the next layer pairs anew.

Real and imaginary channels must meet in one window, so convolutions with groups are not complex ones.

Source: Li, Geng, Li, Yu, "BCNN: Binary Complex Neural Network", arXiv 2104.10044, 2021 (scale and
clipping chosen as in Bi-Real Net).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitlens.bits import hard_tanh, sign_values
from bitlens.errors import BitlensError
from bitlens.methods.contract import (
    ActivationBinarizer,
    Method,
    Progress,
    WeightBinarizer,
    scaled_sign,
)


def complex_parts(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A and B, (o / 2, c / 2, ...) each, of a latent weight (o, c, ...)."""
    upper, lower = weight.chunk(2, 0)
    (p, q), (r, s) = upper.chunk(2, 1), lower.chunk(2, 1)
    return (p + s) / 2, (r - q) / 2


def real_form(a: Tensor, b: Tensor) -> Tensor:
    """[[A, -B], [B, A]] of A and B (o / 2, c / 2, ...): (o, c, ...)."""
    return torch.cat([torch.cat([a, -b], 1), torch.cat([b, a], 1)], 0)


class ComplexWeight(WeightBinarizer):
    """Binary complex weights as one real weight of tied blocks."""

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs [[sgn A, -sgn B], [sgn B, sgn A]] and the mean magnitude per complex channel."""
        a, b = complex_parts(weight.detach())
        scale = torch.cat([a, b], 1).abs().flatten(1).mean(1)
        return real_form(sign_values(a), sign_values(b)), scale.repeat(2)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, differentiable by CLIP(1) in A and B."""
        signs, scale = self.decompose(weight)
        return scaled_sign(self.relaxed(weight), signs, scale, hard_tanh)

    def relaxed(self, weight: Tensor) -> Tensor:
        """The complex weight that the latent one stands for, still real-valued."""
        return real_form(*complex_parts(weight))


def _weight(latent: Tensor, progress: Progress) -> ComplexWeight:
    outputs, inputs = latent.shape[:2]
    for count, what in ((outputs, "output channels"), (inputs, "input channels a filter reads")):
        if count % 2:
            raise BitlensError(
                f"it has {count} {what}, which is no whole number of pairs of a real and an "
                "imaginary channel"
            )
    return ComplexWeight()


COMPLEX = Method(
    title="BCNN: binary complex weights and activations, as tied real weights",
    paper="Li et al., arXiv 2104.10044",
    weight=_weight,
    activation=lambda channels, progress: ActivationBinarizer(hard_tanh),
    nonlinearity=lambda channels: nn.Hardtanh(),
    why_ungrouped="real and imaginary channels must meet in one window",
)
