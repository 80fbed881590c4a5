"""RBNN: every filter is rotated before its sign is taken, so that the signs lose less of its angle.

Forward: the standardised filter What_c (mean 0, unbiased deviation 1) of n = a b weights, a the
largest divisor of n up to sqrt(n), is written as an a x b matrix X_c and rotated, X'_c = R1' X_c R2.
W3_c = What_c + |sin theta_c| (X'_c - What_c), and the binary weight is alpha_c sgn(W3_c). theta starts
at pi/2, all rotated; alpha_c, learned, at mean |W_c|. Activations sgn(x - mean of the sample).
Backward: TRI(t, k) on W3, k = max(1/t, 1), then the derivative of W3, (1 - |sin theta|) times itself
plus |sin theta| times the rotation's transpose, then the standardisation. On activations TRI(max(t, 1),
1) at (x - mean) / deviation of the sample, through both; 1e-5 is added to the variance, where the
released code would divide by zero.
Schedule: t log-linear from 0.01 to 10. The rotations start at random and are fitted 20 times, after
the first step of each twentieth of training (the paper: in the first step of every epoch), each time
by three turns of B = sgn(R1' X R2), R1 = polar(sum_c X R2 B'), R2 = polar(sum_c X' R1 B); polar(M) is
the orthogonal matrix nearest to M, so sum |R1' X R2| never falls. The last fit is at t = 0.95.

The released code detaches X', which leaves (1 - |sin theta|) of the derivative: nothing reaches a weight
before theta has moved from pi/2. `RBNN_RELEASED` does that, and learns next to nothing in short runs.
The gradient of theta is cos theta times a sum, and zero up to rounding at pi/2. In the released code
the weight decay sets it free; theta decays like a weight here too (`decaying`).

Source: Lin, Ji, Xu, Zhang, Wang, Wu, Huang, Lin, "Rotated Binary Neural Network", NeurIPS 2020, and
its released code.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.bits import (
    Surrogate,
    error_decay_slopes,
    sample_scaled,
    sign,
    sign_values,
    triangle,
)
from bitlens.errors import BitlensError
from bitlens.methods.contract import ActivationBinarizer, Method, Progress
from bitlens.methods.irnet import standardize
from bitlens.methods.recu import LearnedScaleWeight
from bitlens.methods.xnor import mean_magnitude

FITS = 20
"""Times the rotations are fitted in a training."""

TURNS = 3
"""Alternations of one fit."""

LARGEST = 2048
"""Largest side of a rotation; its square is stored, its cube is the cost of a fit."""


class TriangleSlopes:
    """TRI at the net's current progress, for weights or for activations."""

    def __init__(self, progress: Progress, *, activations: bool) -> None:
        self.progress, self.activations = progress, activations

    def __call__(self, grad: Tensor, x: Tensor) -> Tensor:
        """Gradient of the sign's input."""
        t, k = error_decay_slopes(self.progress.value, t_min=1e-2)
        if self.activations:
            t, k = max(t, 1.0), 1.0
        return triangle(grad, x, t, k)


class _Centered(torch.autograd.Function):
    """x minus the mean of its sample; autograd's own backward writes the mean out in full first."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x - x.mean(tuple(range(1, x.dim())), keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        axes = tuple(range(1, grads[0].dim()))
        return grads[0] - grads[0].mean(axes, keepdim=True)


class SampleCentered(ActivationBinarizer):
    """sgn(x - mean of the sample), `inner` the gradient of the sign of the standardised sample."""

    def __init__(self, inner: Surrogate) -> None:
        super().__init__(partial(sample_scaled, inner=inner, centered=True))

    def forward(self, x: Tensor) -> Tensor:
        """Signs of x (n, ...) about the mean of each of the n samples."""
        return self.sign(_Centered.apply(x))


def factors(n: int) -> tuple[int, int]:
    """(a, b) with a b = n and a the largest divisor of n that is not above its root."""
    a = next(a for a in range(math.isqrt(n), 0, -1) if n % a == 0)
    return a, n // a


def random_rotation(side: int) -> Tensor:
    """An orthogonal matrix (side, side) drawn uniformly with torch's global generator."""
    q, r = torch.linalg.qr(torch.randn(side, side, dtype=torch.float64))
    return (q * r.diagonal().sign()).to(torch.get_default_dtype()).contiguous()


def polar(matrix: Tensor) -> Tensor:
    """The orthogonal matrix R with the largest trace of R' M."""
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    u, _, vh = torch.linalg.svd(exact)
    return (u @ vh).to(matrix.dtype)


def fit_rotations(x: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (a, a) and (b, b) that bring the matrices x (o, a, b) closer to their signs.

    Those given come back for an `x` that is not finite; its layer then shows in the loss.
    """
    for _ in range(TURNS):
        signs = sign_values(left.T @ x @ right)
        onto = torch.einsum("oij,okj->ik", x @ right, signs)
        if not bool(onto.isfinite().all()):
            return left, right
        left = polar(onto)
        right = polar(torch.einsum("oij,oik->jk", x, left @ signs))
    return left, right


class RotatedWeight(LearnedScaleWeight):
    """alpha_c sgn(W3_c), the filters rotated by two orthogonal matrices.

    Raises:
        BitlensError: a rotation would be larger than `LARGEST`.
    """

    left: Tensor
    right: Tensor
    part: Tensor

    def __init__(self, latent: Tensor, progress: Progress, *, released: bool = False) -> None:
        a, b = factors(latent[0].numel())
        if b > LARGEST:
            raise BitlensError(
                f"the {a * b} weights of a filter split into {a} x {b} only, and a rotation of side "
                f"{b} is above the limit of {LARGEST}"
            )
        super().__init__(mean_magnitude(latent))
        self.progress, self.released = progress, released
        self.surrogate = TriangleSlopes(progress, activations=False)
        shape = (latent.shape[0], *[1] * (latent.dim() - 1))
        self.angle = nn.Parameter(latent.new_full(shape, math.pi / 2))
        self.register_buffer("left", random_rotation(a))
        self.register_buffer("right", random_rotation(b))
        self.register_buffer("part", torch.tensor(-1))
        self._part: int | None = -1
        self.register_load_state_dict_post_hook(_forget_part)

    def real(self, weight: Tensor) -> Tensor:
        """W3: the standardised weight moved towards its rotation."""
        standardized = standardize(weight)
        x = standardized.detach() if self.released else standardized
        x = x.view(len(weight), len(self.left), len(self.right))
        rotated = (self.left.T @ x @ self.right).view(weight.shape)
        return standardized + self.angle.sin().abs() * (rotated - standardized)

    def signs(self, real: Tensor) -> Tensor:
        """Signs, differentiable by TRI."""
        return sign(real, self.surrogate)

    def decaying(self) -> tuple[str, ...]:
        """theta, whose gradient is nothing before it has moved."""
        return ("angle",)

    def after_step(self, weight: nn.Parameter) -> None:
        """Fit the rotations in the first step of each twentieth of training."""
        if self._part is None:  # read from the device once after loading, not in every step
            self._part = int(self.part)
        part = min(int(self.progress.value * FITS), FITS - 1)
        if part == self._part:
            return
        x = standardize(weight.detach()).view(len(weight), len(self.left), len(self.right))
        left, right = fit_rotations(x, self.left, self.right)
        self.left.copy_(left)
        self.right.copy_(right)
        self.part.fill_(part)
        self._part = part


def _forget_part(binarizer: nn.Module, incompatible_keys: Any) -> None:
    assert isinstance(binarizer, RotatedWeight)
    binarizer._part = None


def rbnn(*, released: bool = False) -> Method:
    """RBNN with the gradient through the rotation, or, `released`, without it as the public code."""
    return Method(
        title="RBNN: rotated filters, learned scales, samples standardised before the sign",
        paper="Lin et al., NeurIPS 2020",
        weight=partial(RotatedWeight, released=released),
        activation=lambda channels, progress: SampleCentered(
            TriangleSlopes(progress, activations=True)
        ),
        nonlinearity=lambda channels: nn.Hardtanh(),
        deploy="runtime",
        why_runtime="every image's own mean is subtracted before the sign",
    )


RBNN = rbnn()
RBNN_RELEASED = rbnn(released=True)
