"""Random streams: one generator per purpose, all derived from the recipe's seed."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

PURPOSES = ("order", "augmentation")


def seed_for(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose; different purposes never share a stream."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


class Streams:
    """The generators that advance during training; their states belong in the checkpoint.

    They live on the CPU whatever the device, so the same recipe draws the same numbers everywhere.
    """

    def __init__(self, seed: int) -> None:
        self.generators = {
            purpose: torch.Generator().manual_seed(seed_for(seed, purpose)) for purpose in PURPOSES
        }

    def __getitem__(self, purpose: str) -> torch.Generator:
        return self.generators[purpose]

    def state(self) -> dict[str, Tensor]:
        """States of all generators."""
        return {purpose: g.get_state() for purpose, g in self.generators.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue exactly where `state` was taken."""
        for purpose, generator in self.generators.items():
            generator.set_state(state[purpose])
