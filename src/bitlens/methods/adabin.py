"""AdaBin: the two values of a filter, and of a layer's input, adapt to what they stand for.

Weights, forward: alpha_c sgn(What_c) + beta_c with beta_c = E[W_c], alpha_c the biased standard
deviation of W_c and What_c = (W_c - beta_c) / alpha_c. Backward: EDE at What (t from 1e-3 to 10 over
training, k = max(1/t, 1)); alpha, beta and What are all differentiated.
Activations, forward: a sgn((x - b) / a) + b with one learned gain a (init 1) and one learned bias b
(init 0) a layer. Backward: max(0, 2 - 2|z|) at z = (x - b) / a; a and b are differentiated inside and
outside the sign. Block non-linearity Maxout: p_c max(x, 0) + n_c min(x, 0), p init 1, n init 1/4, both
learned.

A padded position holds the sign-domain value 0, which is worth b, so every window sees the same bias
and the layer's constant term is one number a channel. The released code pads with the real number 0
after the binarization; its borders then miss b times the weights that fall outside.

`ADABIN_RELEASED` also follows the released code in the activation's two values, a (sgn(.) + b).

Source: Tu, Chen, Ren, Wang, "AdaBin", ECCV 2022.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bits import polynomial, sign, sign_values
from bitlens.methods.contract import (
    ActivationBinarizer,
    Method,
    Progress,
    WeightBinarizer,
    per_filter,
)
from bitlens.methods.irnet import ErrorDecay
from bitlens.methods.reactnet import per_channel

SMALLEST_GAIN = 1e-6
"""A gain nearer to zero divides as if it had this magnitude, which turns no sign."""


SMALLEST_SLOPE = 1e-12
"""A slope above zero that is nearer to 0 is taken as this much; below the rounding of any result."""


def _away_from_zero(values: Tensor, least: float) -> Tensor:
    """`values`, those of a smaller magnitude than `least` replaced by +-least, of their sign."""
    held = torch.copysign(torch.full_like(values, least), values)
    return torch.where(values.abs() < least, held, values)


def standardize_biased(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(W_c - beta_c) / alpha_c, shaped as `weight`, with alpha (o,) and beta (o,); differentiable.

    A filter whose entries are all equal, up to rounding, becomes zeros (signs +1) with alpha = 0, so
    its weights are exactly beta.
    """
    flat = weight.flatten(1)
    beta = flat.mean(1)
    centered = flat - beta[:, None]
    alpha = torch.linalg.vector_norm(centered, dim=1) / flat.shape[1] ** 0.5
    rounding = torch.finfo(flat.dtype).eps * flat.detach().abs().amax(1)
    constant = alpha.detach() <= rounding
    standardized = (centered / alpha.masked_fill(constant, 1.0)[:, None]).masked_fill(
        constant[:, None], 0.0
    )
    return standardized.view_as(weight), alpha.masked_fill(constant, 0.0), beta


class AdaptiveWeight(WeightBinarizer):
    """alpha_c sgn(What_c) + beta_c: two values a filter, at its mean plus or minus its deviation."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.surrogate = ErrorDecay(progress)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of the standardised weight and the biased deviation per filter."""
        standardized, alpha, _ = standardize_biased(weight.detach())
        return sign_values(standardized), alpha

    def offset(self, weight: Tensor) -> Tensor:
        """The mean of every filter."""
        return standardize_biased(weight.detach())[2]

    def forward(self, weight: Tensor) -> Tensor:
        """The two-valued weight, differentiable in every part."""
        standardized, alpha, beta = standardize_biased(weight)
        signs = sign(standardized, self.surrogate)
        return signs * per_filter(alpha, weight) + per_filter(beta, weight)


class AdaptiveSign(ActivationBinarizer):
    """sgn((x - b) / a), worth a sgn(.) + b to the layer behind it; a and b learned, one of each.

    A gain below zero turns every sign and counts it negatively; what the layer sees is then
    b +- |a| on the same sides of b, and only a tie, x = b, falls to the lower value.
    """

    def __init__(self, *, released: bool) -> None:
        super().__init__(polynomial)
        self.released = released
        self.gain = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def affine(self) -> tuple[Tensor, Tensor]:
        """(a, b), or (a, a b) as released."""
        return self.gain, self.gain * self.bias if self.released else self.bias

    def forward(self, x: Tensor) -> Tensor:
        """Signs of (x - b) / a, any shape."""
        # A product with the reciprocal: a packed net can repeat it to the last bit, a quotient not.
        factor = _away_from_zero(self.gain, SMALLEST_GAIN).reciprocal()
        return self.sign(_ShiftAndScale.apply(x, self.bias, factor))


class _ShiftAndScale(torch.autograd.Function):
    """(x - bias) * factor, both of one element; keeps its result alone, which the sign keeps anyway."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, bias: Tensor, factor: Tensor) -> Tensor:
        return (x + -bias).mul_(factor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output, inputs[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, factor = ctx.saved_tensors
        return (
            grads[0] * factor,
            -grads[0].sum() * factor,
            (grads[0] * z).sum() / factor,
        )


class _TwoSlopes(torch.autograd.Function):
    """p_c max(x, 0) + n_c min(x, 0) as p_c PReLU(x, n_c / p_c), with a backward pass without branches.

    Few new tensors and no stored result: on a CPU fresh memory costs more than the arithmetic.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, above: Tensor, below: Tensor) -> Tensor:
        slope = _away_from_zero(above, SMALLEST_SLOPE)
        return F.prelu(x, below / slope).mul_(per_channel(slope, x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, above, below = ctx.saved_tensors
        upper = torch.ops.aten.threshold_backward(grads[0], x, 0.0)
        lower = grads[0] - upper
        others = [axis for axis in range(x.dim()) if axis != 1]
        to_above, to_below = (upper * x).sum(others), (lower * x).sum(others)
        grad_x = upper.mul_(per_channel(above, x)).add_(lower.mul_(per_channel(below, x)))
        return grad_x, to_above, to_below


class Maxout(nn.Module):
    """p_c max(x, 0) + n_c min(x, 0): both slopes learned per channel; at 0 the gradient is n_c."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.above = nn.Parameter(torch.ones(channels))
        self.below = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, ...) -> same shape."""
        return _TwoSlopes.apply(x, self.above, self.below)  # pyrefly: ignore[bad-return]


def adabin(*, released: bool = False) -> Method:
    """AdaBin, with the activation values of the paper or those of the released code."""
    return Method(
        title="AdaBin: two learned values for weights and for activations"
        + (", a (sgn + b) as released" if released else ""),
        paper="Tu et al., ECCV 2022",
        weight=lambda latent, progress: AdaptiveWeight(progress),
        activation=lambda channels, progress: AdaptiveSign(released=released),
        nonlinearity=Maxout,
    )


ADABIN = adabin()
ADABIN_RELEASED = adabin(released=True)
