"""VISPA: the signs of a Gaussian over latent weights, with low-rank correlations that are learned.

The weights of a layer are z = mu + V u with u ~ N(0, I_K), one draw a layer and step: mu is the latent
weight, each weight's row V_i (K numbers) says how it moves with the others of its layer.

Forward: mean|mu| sgn(z), mean|mu| per filter without gradient; activations and blocks as in Bi-Real.
Backward, with g what reaches the sign: g 1[|z| < 1] on mu, and that times u on V. After every step the
rows (mu_i, V_i) are projected on the unit ball. In evaluation, and at progress 1, u = 0: the net that
is kept is sgn(mu). With K = 0 this is the straight-through estimator with clipped latent weights.

The draw is a function of the layer's seed and of progress t alone, so that a resumed run and every
process of a group see the same one. A loop that never calls `set_progress` stays at t = 1 and so
trains without draws: mu by plain STE, V not at all.

Source: Orecchia et al., "Training Binary Neural Networks via Gaussian Variational Inference and Low-Rank
Semidefinite Programming", NeurIPS 2024. The rank (4), the scale, the block and one draw a step are our
choices, and so is that V starts at a tenth of the latent weights' spread and learns at a tenth of the rate:
convolutions start far inside the ball, and noise of its size drowns them.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitlens.bits import hard_tanh, polynomial, sign_values
from bitlens.errors import BitlensError
from bitlens.methods.bireal import MeanMagnitudeWeight
from bitlens.methods.contract import (
    ActivationBinarizer,
    Method,
    Progress,
    WeightBinarizer,
    scaled_sign,
)
from bitlens.methods.xnor import mean_magnitude

START = 0.1
"""Standard deviation of the first V, by the root mean square of the first mu."""

RATE = 0.1
"""Learning rate of V by that of mu. Adam moves both alike, however little V matters."""

_DRAWS = 1 << 63
"""Streams from here on are the numbered draws; below lie the bit patterns of t in [0, 1]."""


class GaussianWeight(WeightBinarizer):
    """sgn(mu + V u) whose draw u follows training progress.

    Attributes:
        factor: V, (n, K), its rows in the order of the n latent weights.
        draw: number of the draw that evaluation takes its signs from; None for the mean, u = 0.
    """

    def __init__(self, latent: Tensor, progress: Progress, rank: int) -> None:
        super().__init__()
        self.progress = progress
        self.draw: int | None = None
        spread = START * latent.square().mean().sqrt()
        self.factor = nn.Parameter(torch.randn(latent.numel(), rank).to(latent) * spread)
        self.seed: Tensor
        self.register_buffer("seed", torch.randint(2**62, ()))
        self._seed = int(self.seed)
        self.register_load_state_dict_post_hook(_read_seed)

    def noise(self) -> Tensor:
        """The draw u (K,) of this moment: of progress t, or of the draw that was asked for."""
        t = self.progress.value
        if self.draw is not None:
            stream = _DRAWS + self.draw
        elif self.training and t < 1.0:
            (stream,) = struct.unpack("<Q", struct.pack("<d", t + 0.0))
        else:
            return self.factor.new_zeros(self.factor.shape[-1])
        key = np.array([self._seed, stream], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        return self.factor.new_tensor(generator.standard_normal(self.factor.shape[-1]))

    def relaxed(self, weight: Tensor) -> Tensor:
        """The real weight z = mu + V u, differentiable in both."""
        return weight + (self.factor @ self.noise()).view(weight.shape)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of mu, or of z for a numbered draw, and the mean magnitude of mu per filter."""
        with torch.no_grad():
            z = weight if self.draw is None else self.relaxed(weight)
            return sign_values(z), mean_magnitude(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs of z, differentiable in mu and V by CLIP(1)."""
        z = self.relaxed(weight)
        return scaled_sign(z, sign_values(z.detach()), mean_magnitude(weight), hard_tanh)

    def learning_rates(self) -> dict[str, float]:
        """V follows more slowly than mu."""
        return {"factor": RATE}

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Project every row (mu_i, V_i) on the unit ball."""
        rows = weight.flatten().square() + self.factor.square().sum(1)
        norm = rows.sqrt_().clamp_(min=1.0)
        weight.div_(norm.view(weight.shape))
        self.factor.div_(norm.unsqueeze(1))


def _read_seed(binarizer: nn.Module, incompatible_keys: Any) -> None:
    assert isinstance(binarizer, GaussianWeight)
    binarizer._seed = int(binarizer.seed)


def vispa(rank: int = 4) -> Method:
    """VISPA with `rank` learned directions of correlation a layer.

    Raises:
        BitlensError: a negative rank.
    """
    if rank < 0:
        raise BitlensError(f"vispa: rank={rank}; give 0 (plain STE) or more")

    def weight(latent: Tensor, progress: Progress) -> WeightBinarizer:
        return GaussianWeight(latent, progress, rank) if rank else MeanMagnitudeWeight()

    return Method(
        title=f"VISPA: signs of a Gaussian whose covariance has rank {rank}",
        paper="Orecchia et al., NeurIPS 2024",
        weight=weight,
        activation=lambda channels, progress: ActivationBinarizer(polynomial),
        nonlinearity=lambda channels: nn.Identity(),
        clamp=None if rank else 1.0,
    )


VISPA = vispa()
