"""Anchors: which places of which images a layer contrasts in one step, the same on every process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitlens.objectives.gather import world
from bitlens.objectives.negatives import Batch

_CELLS_OF_AN_IMAGE = 2**32
"""More than any map has, so that image and cell make one number and leave it again."""


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """The places of one layer and step, numbered image * cells + cell over the batch of all processes.

    Attributes:
        everywhere: (a,) their numbers, ascending.
        cells: places per image.
        first: the number of this process's first place.
        counts: how many of them lie in each process's images.
        whole: every place is an anchor.
    """

    everywhere: Tensor
    cells: int
    first: int
    counts: tuple[int, ...]
    whole: bool

    @property
    def here(self) -> Tensor:
        """(k,) numbers of this process's anchors among its own images' places."""
        rank, _ = world()
        return self.everywhere.split(list(self.counts))[rank] - self.first

    def batch(self, images: Batch) -> Batch:
        """The batch whose samples are these anchors; known by image and cell where indices are."""
        known = None
        if images.all_indices is not None:
            image = torch.div(self.everywhere, self.cells, rounding_mode="floor")
            cell = self.everywhere - image * self.cells
            known = images.all_indices[image] * _CELLS_OF_AN_IMAGE + cell
        rank, _ = world()
        return Batch(
            labels=None,
            indices=None if known is None else known.split(list(self.counts))[rank],
            all_labels=None,
            all_indices=known,
            counts=self.counts,
        )


class AnchorDraw(nn.Module):
    """Draws at most `most` places of a layer and step, uniformly and without replacement.

    The draw is over the places of all processes' images together, and depends on seed, layer and step
    alone: several processes draw what one would, and the step is all there is to save.
    """

    step: Tensor

    def __init__(self, most: int, seed: int) -> None:
        super().__init__()
        self.most, self.seed = most, seed % 2**62
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        # Reading the buffer would make every layer wait for an accelerator.
        self._steps = 0

    def _load_from_state_dict(self, *given: Any, **named: Any) -> None:
        super()._load_from_state_dict(*given, **named)
        self._steps = int(self.step)

    def advance(self) -> None:
        """Go on to the next step's draws."""
        self.step += 1
        self._steps += 1

    def forward(self, layer: int, images: int, cells: int, device: torch.device) -> Anchors:
        """Draw for one layer.

        Args:
            layer: its number, so that layers draw independently.
            images: in this process's batch; the same number on every process.
            cells: places per image.
            device: where the numbers are needed.
        """
        rank, processes = world()
        mine = images * cells
        total = mine * processes
        if total <= self.most:
            numbers = np.arange(total)
        else:
            source = np.random.default_rng([self.seed, layer, self._steps])
            numbers = np.sort(source.choice(total, self.most, replace=False, shuffle=False))
        ends = np.searchsorted(numbers, mine * np.arange(processes + 1))
        return Anchors(
            everywhere=torch.from_numpy(numbers).to(device),
            cells=cells,
            first=rank * mine,
            counts=tuple(np.diff(ends).tolist()),
            whole=total <= self.most,
        )
