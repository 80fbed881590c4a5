"""A Gaussian information bottleneck between a shared encoder and the heads that read it.

Two 1x1 convolutions give the mean mu and log sigma^2 of a normal distribution for every number of the
map. Training passes on a draw z = mu + sigma eps, evaluation the mean. What z tells of the image is
bounded by the divergence of these distributions from N(0, 1), which is added to the loss:
beta(t) * mean of (mu^2 + sigma^2 - 1 - log sigma^2) / 2, in nats per number, beta(t) growing
linearly to beta over the first quarter of training.

Sources: Alemi et al., "Deep variational information bottleneck", ICLR 2017; behind the encoder of a
binary multi-task net, Shang et al., "Efficient Multitask Dense Predictor via Binarization", CVPR 2024.
The warm-up's length, the range of log sigma^2 and its start are our choices: sigma starts at e^-2, so
that the first draws do not drown the maps.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.methods.contract import Progress, TrainingOnly
from bitlens.models.layers import Penalized

WARM_UP = 0.25
"""Share of training over which beta grows from 0."""

START = -4.0
"""Log sigma^2 of an untrained bottleneck, before what its weights add."""

RANGE = (-10.0, 10.0)
"""Log sigma^2 is kept in it; far outside, its exponential overflows or loses its gradient."""


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, on average over the numbers of any shape."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2


class LogVariance(TrainingOnly):
    """log sigma^2 of every number of a map `(n, c, h, w)`, by a 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        nn.init.constant_(self.conv.get_parameter("bias"), START)

    def forward(self, x: Tensor) -> Tensor:
        """The logarithms, in `RANGE`."""
        return self.conv(x).float().clamp(*RANGE)


class GaussianBottleneck(Penalized):
    """Maps `(n, c, h, w)` to a draw of the same shape, in evaluation mode to its mean.

    A draw is a function of the layer's seed, of training progress t and of how many were made at this
    t, so that a run which is resumed between steps goes on with the same ones. Every process of a
    group draws the same.

    Attributes:
        beta: weight of the divergence in nats per number, once warmed up.
    """

    def __init__(self, channels: int, *, beta: float) -> None:
        super().__init__()
        if not 0 < beta < math.inf:
            raise BitlensError(f"bottleneck={beta}; its beta must be positive and finite")
        self.beta = beta
        self.mean = nn.Conv2d(channels, channels, 1)
        self.log_variance = LogVariance(channels)
        self.seed: Tensor
        self.register_buffer("seed", torch.randint(2**62, ()))
        self._seed = int(self.seed)
        self.register_load_state_dict_post_hook(_read_seed)
        self._progress = Progress()
        self._progress.attach(self)
        self._drawn = (-1.0, 0)
        self._divergence: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The draw or the mean."""
        mean = self.mean(x)
        if not self.training:
            return mean
        log_variance = self.log_variance(x)
        self._divergence = divergence(mean.float(), log_variance)
        noise = torch.from_numpy(self._noise(mean.shape)).to(mean.device)
        return mean + ((log_variance / 2).exp() * noise).to(mean.dtype)

    def penalty(self) -> Tensor | None:
        """beta(t) times the divergence at the last forward pass in training mode; else None."""
        if not self.training or self._divergence is None:
            return None
        return self.beta * min(self._progress.value / WARM_UP, 1.0) * self._divergence

    def _noise(self, shape: torch.Size) -> np.ndarray:
        """Standard normal numbers of this moment."""
        t = self._progress.value
        earlier = self._drawn[1] if self._drawn[0] == t else 0
        self._drawn = (t, earlier + 1)
        (moment,) = struct.unpack("<Q", struct.pack("<d", t + 0.0))
        key = np.array([self._seed, moment], dtype=np.uint64)
        # Draws of one moment lie 2^192 numbers apart.
        bits = np.random.Philox(key=key, counter=[0, 0, 0, earlier])
        return np.random.Generator(bits).standard_normal(tuple(shape), dtype=np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Without the last divergence, which hangs on a graph that cannot be copied."""
        return {**super().__getstate__(), "_divergence": None}

    def extra_repr(self) -> str:
        """The weight."""
        return f"beta={self.beta}"


def _read_seed(bottleneck: nn.Module, incompatible_keys: Any) -> None:
    assert isinstance(bottleneck, GaussianBottleneck)
    bottleneck._seed = int(bottleneck.seed)
