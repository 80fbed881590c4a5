"""Sub-bit Neural Networks: every 3x3 kernel is one of 2^tau sign patterns, learned per layer.

A layer holds a latent codebook P (2^tau, 9) and its signs M; tau bits then store a kernel of 9 weights.

Forward: kernel c takes the nearest pattern, i(c) = argmin_k |w_c - M_k|^2, which is
argmax_k <w_c, M_k> because all patterns are equally long (the first of equals); the binary weight is
mean|W| M_i(c), the scale per filter as in Bi-Real. Activations and blocks as in ReActNet.
Backward, with g what reaches the binary weight: g where |w| < 1 on the latent weight, always; on P_k
the sum of g over the kernels that take pattern k, every 25th step, between which P rests.
After such a step P is clamped to [-3, 3]; M_kj becomes sgn P_kj where |P_kj| >= 1e-3 and stays
elsewhere, so that entries near zero do not flicker; of patterns that have become equal the first
stays and the others are replaced by unused ones, drawn from the layer's seed and the step's number.
P learns at 25 times the recipe's rate (ours): it moves in one step of 25, and an optimizer like Adam, whose
steps are one learning rate long, would otherwise cross no zero in a short training.

P starts as 2^tau distinct patterns of the 512, drawn without replacement. Ours: layers whose kernel has
not 9 weights (1x1 convolutions, linear layers) cut each filter into groups of 8, the last of which may
reach beyond it. Where 2^tau patterns are all there are, nothing is left to choose and the layer is plain
binary. A kernel of zeros is equally near to all patterns and takes the first. A stage of real weights
moves P as well, because training in several processes wants a gradient for every parameter; the first
binary step puts it back.

Source: Wang, Yang, Sun, Yao, "Sub-bit Neural Networks", ICCV 2021. The paper trains in two steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bits import Surrogate, hard_tanh, sign_values, straight_through
from bitlens.errors import BitlensError
from bitlens.methods.bireal import MeanMagnitudeWeight
from bitlens.methods.contract import TWO_STEP, Method, Progress, WeightBinarizer, per_filter
from bitlens.methods.reactnet import RPReLU, RSign
from bitlens.methods.xnor import mean_magnitude

KERNEL = 9
"""Weights of a 3x3 kernel, the group that the paper codes."""

GROUP = 8
"""Weights of a group where kernels are of another size."""

PERIOD = 25
"""Optimizer steps from one change of the codebook to the next."""

BOUND = 3.0
HYSTERESIS = 1e-3

_PART = 1 << 14
"""Kernels compared with the codebook at once, so that their distances stay in the cache."""


def pattern_entropy(signs: Tensor) -> float:
    """Entropy in bits of the empirical distribution of 3x3 sign patterns, 0 to 9.

    How unevenly a layer uses the 512 patterns is what sub-bit nets live on.

    Args:
        signs: -1 or +1, (o, c, 3, 3) or any shape whose last axes hold 9.

    Raises:
        BitlensError: kernels that are not 3x3.
    """
    if signs.dim() < 2 or signs[0, 0].numel() != KERNEL:
        raise BitlensError(
            f"pattern_entropy: signs of shape {tuple(signs.shape)}; give those of a 3x3 convolution"
        )
    counts = torch.bincount(_numbers(signs.reshape(-1, KERNEL))).double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum()) + 0.0


def _numbers(patterns: Tensor) -> Tensor:
    """Patterns (..., g) as integers: bit g - 1 - j is set where entry j is +1."""
    places = 2 ** torch.arange(patterns.shape[-1] - 1, -1, -1, device=patterns.device)
    return ((patterns > 0) * places).sum(-1)


def _patterns(numbers: Tensor, length: int) -> Tensor:
    """Inverse of `_numbers`: (...) -> (..., length) of -1 / +1."""
    places = torch.arange(length - 1, -1, -1, device=numbers.device)
    return (numbers.unsqueeze(-1) >> places) % 2 * 2 - 1


def group_length(latent: Tensor) -> int:
    """Weights that share one index in a layer of this latent weight (o, ...)."""
    if latent.dim() == 4 and latent[0, 0].numel() == KERNEL:
        return KERNEL
    return min(GROUP, latent[0].numel())


class _Coded(torch.autograd.Function):
    """A given value forward; backward to the latent by a surrogate, to the chosen patterns as it is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        weight: Tensor, codebook: Tensor, value: Tensor, index: Tensor, surrogate: Surrogate
    ) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        weight, codebook, _, index, ctx.surrogate = inputs
        ctx.save_for_backward(weight, codebook, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        weight, codebook, index = ctx.saved_tensors
        kernels = _groups(grads[0], codebook.shape[1])
        to_codebook = torch.index_add(torch.zeros_like(codebook), 0, index, kernels)
        return ctx.surrogate(grads[0], weight), to_codebook, None, None, None


def _groups(weight: Tensor, length: int) -> Tensor:
    """Groups (n, length) of a weight (o, ...), zeros where the last of a filter reaches beyond it."""
    flat = weight.flatten(1)
    return F.pad(flat, (0, -flat.shape[1] % length)).reshape(-1, length)


class CodebookWeight(WeightBinarizer):
    """Signs taken from a learned codebook, group by group.

    Args:
        latent: initial weight (o, ...).
        tau: bits of an index; fewer than the weights of a group.
    """

    def __init__(self, latent: Tensor, tau: int) -> None:
        super().__init__()
        self.length = group_length(latent)
        numbers = torch.randperm(2**self.length)[: 2**tau]
        patterns = _patterns(numbers, self.length).to(latent)
        self.codebook = nn.Parameter(patterns.clone())
        self.patterns: Tensor
        self.register_buffer("patterns", patterns)
        self.seed: Tensor
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._taken = 0
        self.register_load_state_dict_post_hook(_recount)

    def assign(self, weight: Tensor) -> Tensor:
        """Index of every group's nearest pattern, (n,), groups in the order of the weight."""
        patterns = self.patterns.to(weight.dtype).T
        groups = _groups(weight.detach(), self.length)
        return torch.cat([(part @ patterns).argmax(1) for part in groups.split(_PART)])

    def _signs(self, weight: Tensor, index: Tensor) -> Tensor:
        flat = self.patterns.to(weight.dtype)[index].reshape(weight.shape[0], -1)
        return flat[:, : weight[0].numel()].reshape(weight.shape)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen patterns and the mean magnitude per filter."""
        return self._signs(weight, self.assign(weight)), mean_magnitude(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled patterns, differentiable in the latent weight and the codebook."""
        index = self.assign(weight)
        value = self._signs(weight, index) * per_filter(mean_magnitude(weight), weight)
        return self._coded(weight, value, index, hard_tanh)

    def relaxed(self, weight: Tensor) -> Tensor:
        """The latent weight; the codebook gets the gradient it would get in `forward`."""
        return self._coded(weight, weight.detach(), self.assign(weight), straight_through)

    def _coded(self, weight: Tensor, value: Tensor, index: Tensor, surrogate: Surrogate) -> Tensor:
        return _Coded.apply(  # pyrefly: ignore[bad-return]
            weight, self.codebook, value, index, surrogate
        )

    def learning_rates(self) -> dict[str, float]:
        """P learns as many times faster as it rests."""
        return {"codebook": float(PERIOD)}

    def before_step(self, weight: nn.Parameter) -> None:
        """Let the codebook rest unless this step is one of its own."""
        if self._taken == 0:
            self.codebook.copy_(self.patterns)
        if (self._taken + 1) % PERIOD:
            self.codebook.grad = None

    def after_step(self, weight: nn.Parameter) -> None:
        """Count the step, and bring a changed codebook in order."""
        self._taken += 1
        self.steps.add_(1)
        if self._taken % PERIOD == 0:
            self.codebook.clamp_(-BOUND, BOUND)
            settled = self.codebook.abs() >= HYSTERESIS
            self.patterns.copy_(torch.where(settled, sign_values(self.codebook), self.patterns))
            self._replace_equals()

    def _replace_equals(self) -> None:
        numbers = _numbers(self.patterns).tolist()
        equal = [row for row, number in enumerate(numbers) if number in numbers[:row]]
        if equal:
            unused = sorted(set(range(2**self.length)) - set(numbers))
            key = np.array([int(self.seed), self._taken], dtype=np.uint64)
            draw = np.random.Generator(np.random.Philox(key=key))
            chosen = torch.from_numpy(draw.choice(unused, len(equal), replace=False))
            fresh = _patterns(chosen, self.length).to(self.patterns)
            self.patterns[equal] = fresh
            self.codebook[equal] = fresh


def _recount(binarizer: nn.Module, incompatible_keys: Any) -> None:
    assert isinstance(binarizer, CodebookWeight)
    binarizer._taken = int(binarizer.steps)


def subbit(tau: int = 6) -> Method:
    """Sub-bit nets with `tau` bits for every 3x3 kernel, or group of 8 weights where there is none.

    Raises:
        BitlensError: `tau` is not 1 to 9.
    """
    if not 1 <= tau <= KERNEL:
        raise BitlensError(
            f"subbit: tau={tau}; a kernel of {KERNEL} weights takes 1 to {KERNEL} bits"
        )

    def weight(latent: Tensor, progress: Progress) -> WeightBinarizer:
        if tau >= group_length(latent):
            return MeanMagnitudeWeight()
        return CodebookWeight(latent, tau)

    return Method(
        title=f"Sub-bit nets: {tau} bits for a 3x3 kernel, from a learned codebook a layer",
        paper="Wang et al., ICCV 2021",
        weight=weight,
        activation=lambda channels, progress: RSign(channels),
        nonlinearity=RPReLU,
        plan=TWO_STEP,
    )


SUBBIT = subbit()
SUBBIT5 = subbit(5)
SUBBIT4 = subbit(4)
