"""The algebra of signs: exact binarization, gradient surrogates, packing, and a slow reference.

Everything in bitlens that is "binary" is a tensor whose entries are exactly -1 or +1. Zero counts as
positive (sign(0) = sign(-0) = +1), so a code never has a third level, and NaN stays NaN, so a broken
activation reaches the loss instead of turning into a harmless-looking -1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

WORD = 32
"""Signs per packed word."""

Surrogate = Callable[[Tensor, Tensor], Tensor]
"""Backward rule of a sign: `(upstream gradient, input of the sign) -> gradient of the input`."""


def straight_through(grad: Tensor, x: Tensor) -> Tensor:
    """STE: the gradient passes unchanged (Bengio et al., 2013)."""
    return grad


def hard_tanh(grad: Tensor, x: Tensor) -> Tensor:
    """CLIP(1): the gradient passes where |x| < 1, the rule of BinaryNet (Hubara et al., 2016)."""
    return torch.ops.aten.hardtanh_backward(grad, x, -1.0, 1.0)


def polynomial(grad: Tensor, x: Tensor) -> Tensor:
    """POLY: multiplier max(0, 2 - 2|x|), Bi-Real Net's piecewise quadratic (Liu et al., 2018)."""
    return x.abs().mul_(-2.0).add_(2.0).relu_() * grad


def swish(grad: Tensor, x: Tensor, beta: float = 5.0) -> Tensor:
    """SWISH: multiplier b (2 - b x tanh(b x / 2)) / (1 + cosh(b x)), of BNN+ (Darabi et al., 2018).

    The derivative of SignSwish: b at zero, below zero beyond |x| = 2.4 / b, area 2. Where cosh would
    overflow a float the multiplier is zero to the last bit anyway, so the argument is clamped there.
    """
    z = (x * beta).clamp_(-80.0, 80.0)
    return beta * (2 - z * (z / 2).tanh()) / (1 + z.cosh()) * grad


def unit_step(grad: Tensor, x: Tensor) -> Tensor:
    """Multiplier 2 where |x| < 1/2: a 1-bit DoReFa activation (clip to [0,1], then round).

    The code is (sign + 1) / 2, which halves the gradient again, so the rounded activation itself
    passes its gradient with slope one, as in Zhou et al. (2016).
    """
    return torch.ops.aten.hardtanh_backward(grad, x, -0.5, 0.5).mul_(2.0)


def error_decay(grad: Tensor, x: Tensor, t: float, k: float) -> Tensor:
    """EDE: multiplier k t (1 - tanh^2(t x)), IR-Net's error decay estimator (Qin et al., 2020)."""
    # 1 - tanh^2(z) = 4 s(2z) (1 - s(2z)), and a CPU computes the sigmoid s twenty times faster.
    return torch.ops.aten.sigmoid_backward(grad, (x * (2 * t)).sigmoid_()).mul_(4 * k * t)


def error_decay_slopes(
    progress: float, *, t_min: float = 1e-3, t_max: float = 10.0
) -> tuple[float, float]:
    """The pair (t, k) of EDE at training progress in [0, 1]: t log-linear, k = max(1/t, 1)."""
    t = 10 ** (math.log10(t_min) + (math.log10(t_max) - math.log10(t_min)) * progress)
    return t, max(1.0 / t, 1.0)


def sign_values(x: Tensor) -> Tensor:
    """-1 or +1 for every entry of `x`, in its dtype; 0 -> +1, NaN -> NaN. No gradient.

    A clamp to [-1, 0] followed by floor() keeps NaN and runs three times faster on a CPU than
    comparing and casting, because it never leaves the floating-point vector lanes.
    """
    return x.clamp(-1.0, 0.0).floor_().mul_(2.0).add_(1.0)


class _Sign(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: Surrogate) -> Tensor:
        return sign_values(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.surrogate(grads[0], x), None


def sign(x: Tensor, surrogate: Surrogate = hard_tanh) -> Tensor:
    """Binarize `x` to exactly -1 / +1 (0 -> +1, NaN stays NaN), any shape, any floating dtype.

    Args:
        x: real tensor.
        surrogate: backward rule; the forward value does not depend on it.
    """
    return _Sign.apply(x, surrogate)  # pyrefly: ignore[bad-return]


def pack(signs: Tensor) -> Tensor:
    """Pack the last axis of a ±1 tensor into 32-bit words: (..., k) -> (..., ceil(k / 32)) uint32.

    Bit j of word i is set where entry 32 i + j is +1. The tail of the last word is zero bits.

    Raises:
        ValueError: when an entry is neither -1 nor +1, or there is no axis to pack.
    """
    if signs.dim() == 0:
        raise ValueError("pack: `signs` is a single number; its last axis is what gets packed")
    if signs.dtype == torch.bfloat16:
        signs = signs.float()  # numpy has no bfloat16
    values = signs.detach().cpu().numpy()
    if not np.all(np.abs(values) == 1):
        bad = values[np.abs(values) != 1].flat[0]
        raise ValueError(f"pack: `signs` holds {bad}; every entry must be -1 or +1")
    words = -(-values.shape[-1] // WORD)
    bits = np.zeros((*values.shape[:-1], words * WORD), dtype=bool)
    bits[..., : values.shape[-1]] = values > 0
    packed = np.packbits(bits, axis=-1, bitorder="little")
    return torch.from_numpy(np.ascontiguousarray(packed).view("<u4").astype(np.uint32, copy=False))


def unpack(words: Tensor, length: int) -> Tensor:
    """Inverse of `pack`: (..., u) uint32 words -> (..., length) float32 of -1 / +1.

    Raises:
        ValueError: when `length` does not fit into the words.
    """
    if not 0 <= length <= words.shape[-1] * WORD:
        raise ValueError(
            f"unpack: length={length} does not fit in {words.shape[-1]} words of 32 bits"
        )
    octets = np.ascontiguousarray(words.cpu().numpy().astype("<u4", copy=False)).view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, bitorder="little")[..., :length]
    return torch.from_numpy(bits.astype(np.float32) * 2 - 1)


def xnor_dot(a: Tensor, b: Tensor, length: int) -> Tensor:
    """Dot product of packed sign vectors along the last axis, the slow and obvious way.

    `a` and `b` are uint32 words (..., u) holding `length` signs each, broadcastable in front of the
    last axis. The answer is length - 2 popcount(a xor b), int64: zero tail bits agree in both and
    cancel.

    Raises:
        ValueError: when `a`, `b` and `length` do not have the same number of words.
    """
    words = -(-length // WORD)
    if not a.shape[-1] == b.shape[-1] == words:
        raise ValueError(
            f"xnor_dot: length={length} takes {words} words, but `a` has {a.shape[-1]} and `b` has "
            f"{b.shape[-1]}"
        )
    differing = np.bitwise_count(np.bitwise_xor(a.cpu().numpy(), b.cpu().numpy()))
    return torch.as_tensor(length - 2 * differing.sum(axis=-1, dtype=np.int64))


def rectified(grad: Tensor, x: Tensor, o: float, reach: float = 1.5, inner: float = 0.1) -> Tensor:
    """RESTE: multiplier |x|^((1-o)/o) / o where |x| < `reach`, of ReSTE (Wu et al., 2023).

    The derivative of |x|^(1/o) sgn x, which is unbounded at zero; where |x| < `inner` the slope of the
    secant, inner^(1/o) / inner, stands in. At o = 1 this is a clip to [-reach, reach].
    """
    slope = x.abs().clamp_(min=inner).pow_((1 - o) / o).mul_(1 / o)
    passed = torch.ops.aten.hardtanh_backward(grad, x, -reach, reach)
    # The secant's slope is o times the derivative at `inner`; adding is far cheaper than selecting.
    central = torch.ops.aten.hardtanh_backward(passed, x, -inner, inner)
    return passed.add_(central, alpha=o - 1).mul_(slope)


FOURIER_STEP = 0.1
"""The w of FDA: the square wave that stands for the sign has period 2 pi / w."""


def fourier(grad: Tensor, x: Tensor, n: int) -> Tensor:
    """FDA: multiplier (4 w / pi) sum_{i<=n} cos((2i+1) w x) where |x| < 1, w = 0.1 (Xu et al., 2021).

    The derivative of the first n + 1 terms of a square wave's Fourier series. Inside [-1, 1] it is a
    short power series in x^2, which costs as much as two cosines instead of n + 1 and is exact at 0.
    """
    last, *others = _fourier_series(n, torch.finfo(x.dtype).eps)
    square = x.clamp(-1.0, 1.0).square_()
    slope = square * last
    for coefficient in others[:-1]:
        slope.add_(coefficient).mul_(square)
    slope.add_(others[-1])
    return torch.ops.aten.hardtanh_backward(grad, x, -1.0, 1.0).mul_(slope)


@lru_cache(maxsize=256)
def _fourier_series(n: int, precision: float) -> tuple[float, ...]:
    """Coefficients in x^2, highest first, until the next is below `precision` of the value at 0."""
    factor, found, order = 4 * FOURIER_STEP / math.pi, list[float](), 0
    while order < 2 or abs(found[-1]) > precision * found[0]:
        powers = sum((2 * i + 1) ** (2 * order) for i in range(n + 1))
        term = FOURIER_STEP ** (2 * order) * powers / math.factorial(2 * order)
        found.append(factor * (-1) ** order * term)
        order += 1
    return tuple(reversed(found))


def triangle(grad: Tensor, x: Tensor, t: float, k: float) -> Tensor:
    """TRI: multiplier max(0, k (sqrt(2) t - t^2 |x|)), of RBNN (Lin et al., 2020).

    The derivative of two parabolas that meet at zero: k sqrt(2) t there, zero from |x| = sqrt(2) / t.
    """
    return x.abs().mul_(-k * t * t).add_(k * math.sqrt(2) * t).relu_() * grad


def sample_scaled(
    grad: Tensor,
    x: Tensor,
    inner: Surrogate,
    *,
    centered: bool = False,
    through: bool = True,
    eps: float = 1e-5,
) -> Tensor:
    """`inner` for sgn(x / s), s the standard deviation of each sample, (n, ...), with its gradient.

    s = sqrt(unbiased variance + eps) over all axes but the first. A positive factor leaves the sign
    alone, so it matters to the backward pass only and forward needs no standardised copy of x. This is
    what ReCU (Xu et al., 2021) and its descendants compute by dividing before the sign. `centered`
    saves the time of centring an `x` whose samples have mean zero already. Without `through` the
    deviation is a constant for the gradient (OvSW).
    """
    axes = tuple(range(1, x.dim()))
    freedom = max(x[:1].numel() - 1, 1)
    # torch.var takes a hundred times as long on a CPU as a mean and a norm.
    spread = x if centered else x - x.mean(axes, keepdim=True)
    # The square of a sample's norm is beyond the range of float16 soon.
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(spread, dim=axes, keepdim=True, dtype=wide)
    exact = (norm.square() / freedom + eps).rsqrt()
    rate = exact.to(x.dtype)
    passed = inner(grad, x * rate)
    if not through:
        return passed * rate
    pull = (passed * x).sum(axes, keepdim=True, dtype=wide) * (-(exact**3) / freedom)
    return torch.addcmul(passed * rate, spread, pull.to(x.dtype))
