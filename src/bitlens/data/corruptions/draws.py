"""Random numbers that belong to an image, not to the batch it happens to come in."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


class Draws:
    """One counter-based stream per image, keyed by seed and purpose, counted by the image's position.

    Severity is no part of the key: the severities of one corruption share their draws and differ in
    strength alone. (Philox: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.)
    """

    def __init__(self, seed: int, purpose: str, first: int, count: int) -> None:
        """Streams of `count` images, the first of which is image number `first` of its set."""
        digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
        key = int.from_bytes(digest[:16], "big")
        # The upper word of the counter is the image's; 2^192 draws lie between two images.
        self._streams = [
            np.random.Generator(np.random.Philox(key=key, counter=(first + place) << 192))
            for place in range(count)
        ]

    def uniform(self, *shape: int) -> Tensor:
        """Float64 `(n, *shape)` in [0, 1)."""
        return self._stacked([stream.random(shape) for stream in self._streams], shape)

    def normal(self, *shape: int) -> Tensor:
        """Float64 `(n, *shape)`, mean 0, variance 1."""
        return self._stacked([stream.standard_normal(shape) for stream in self._streams], shape)

    def poisson(self, mean: Tensor) -> Tensor:
        """Counts as float64 in the shape of `mean`, `(n, ...)`."""
        pairs = zip(self._streams, mean.numpy(), strict=True)
        drawn = [stream.poisson(rates).astype(np.float64) for stream, rates in pairs]
        return self._stacked(drawn, tuple(mean.shape[1:]))

    @staticmethod
    def _stacked(drawn: list[np.ndarray], shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.stack(drawn)) if drawn else torch.empty(0, *shape).double()
