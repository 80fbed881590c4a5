"""FDA-BNN: the sign's gradient from its Fourier series, and noise that fades during training.

Forward: (sgn(W) + alpha e(W)) E_c|W|, no gradient through E_c|W|; activations sgn(x) + alpha e(x), with
the noise adapter e(v) = fc2(relu(fc1 v)) + 0.1 sin v. Backward: FDA(n) for both,
(4w/pi) sum_{i<=n} cos((2i+1) w v) where |v| < 1, w = 0.1.
Schedule: n = 9 + floor(9 t), 10 to 19 terms; alpha = 0.05 (1 + cos(pi t)), from 0.1 to exactly 0 at the
end. In evaluation, and at t = 1, the adapters are not computed, so codes and weights are signs.

fc1 and fc2 have no bias and a hidden width of a 64th of the input's, at least 1. The weight's adapter
reads a whole filter. The activation's reads the channels of one pixel, so that it does not depend on
the resolution; this is our reading, shared with BiBench's implementation (the paper gives the width for
a flattened vector). The sign that observers see is the one before the noise.

Source: Xu, Han, Xu, Tao, Xu, Wang, "Learning Frequency Domain Approximation for Binary Neural
Networks", NeurIPS 2021; formulas as in the implementation of BiBench (Qin et al., ICML 2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bitlens.bits import fourier, sign, sign_values
from bitlens.methods.contract import (
    ActivationBinarizer,
    Method,
    Progress,
    TrainingOnly,
    WeightBinarizer,
    per_filter,
)
from bitlens.methods.xnor import mean_magnitude

REDUCTION = 64
"""Inputs of an adapter per hidden unit."""


def last_term(progress: float) -> int:
    """The n of FDA at training progress in [0, 1]."""
    return 9 + math.floor(9 * progress)


def noise_level(progress: float) -> float:
    """The alpha of the noise at training progress in [0, 1]: 0.1 down to exactly 0."""
    return 0.05 * (1 + math.cos(math.pi * progress))


class Fourier:
    """FDA at the net's current progress."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, grad: Tensor, x: Tensor) -> Tensor:
        """Gradient of the sign's input."""
        return fourier(grad, x, last_term(self.progress.value))


class NoiseAdapter(TrainingOnly):
    """e(v) = fc2(relu(fc1 v)) + 0.1 sin v along the last axis of v."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // REDUCTION, 1)
        self.fc1 = nn.Linear(width, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, v: Tensor) -> Tensor:
        """v (..., width) -> same shape."""
        return torch.add(self.fc2(self.fc1(v).relu()), v.sin(), alpha=0.1)

    def absent(self) -> Tensor:
        """Zero, of no dimension, with a path to both matrices.

        Several processes wait for the gradient of every parameter, also where it plays no part.
        """
        return 0 * (self.fc1.weight.sum() + self.fc2.weight.sum())


class FourierWeight(WeightBinarizer):
    """(sgn(W) + alpha e(W)) E_c|W|, e by an adapter over the filter."""

    def __init__(self, latent: Tensor, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self.surrogate = Fourier(progress)
        self.noise = NoiseAdapter(latent[0].numel())

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs and the mean magnitude per filter."""
        return sign_values(weight.detach()), mean_magnitude(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, with noise while training; differentiable by FDA and through the noise."""
        signs = sign(weight, self.surrogate)
        if self.training:
            signs = signs + self._faded_noise(weight)
        return signs * per_filter(mean_magnitude(weight), weight)

    def relaxed(self, weight: Tensor) -> Tensor:
        """The latent weight, without noise."""
        return weight + self.noise.absent()

    def _faded_noise(self, weight: Tensor) -> Tensor:
        level = noise_level(self.progress.value)
        if level == 0:
            return self.noise.absent()
        return level * self.noise(weight.flatten(1)).view_as(weight)


class NoisySign(ActivationBinarizer):
    """sgn(x) + alpha e(x), e by an adapter over the channels of every pixel."""

    def __init__(self, channels: int, progress: Progress) -> None:
        super().__init__(Fourier(progress))
        self.progress = progress
        self.noise = NoiseAdapter(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Signs of x (n, c, ...), with noise while training."""
        signs = self.sign(x)
        if not self.training:
            return signs
        level = noise_level(self.progress.value)
        if level == 0:
            return signs + self.noise.absent()
        noise = self.noise(x.movedim(1, -1)).movedim(-1, 1)
        return torch.add(signs, noise, alpha=level)


FDA = Method(
    title="FDA-BNN: Fourier series of the sign, fading noise",
    paper="Xu et al., NeurIPS 2021",
    weight=FourierWeight,
    activation=NoisySign,
    nonlinearity=lambda channels: nn.Hardtanh(),
)
