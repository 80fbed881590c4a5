"""Sums over known pixels, and their means over all processes' batches.

Batches differ in how many pixels are known. A mean of per-process means would weigh a pixel by where it
was read; sums and counts that are added first do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from bitlens.objectives.gather import total, world


@dataclass(frozen=True, kw_only=True)
class PixelSum:
    """A loss before it is divided.

    Attributes:
        sum: scalar, of the losses of the known pixels; 0, with zero gradients, where none is known.
        count: int64 scalar, the known pixels.
    """

    sum: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """Of this process's pixels; 0, with zero gradients, where none is known."""
        return self.sum / self.count.clamp(min=1)

    def across_processes(self) -> PixelSum:
        """What makes the average of the processes' means, and of their gradients, that of all pixels.

        Collective: every process calls it in the same order.
        """
        processes = world()[1]
        return PixelSum(sum=self.sum * processes, count=total(self.count))


def largest(x: Tensor) -> Tensor:
    """The largest element of a tensor that is not negative, 0 when empty, without gradient."""
    return x.detach().max() if x.numel() else x.new_zeros(())


def largest_of_all(x: Tensor) -> Tensor:
    """`largest` over the tensors of all processes; collective."""
    found = largest(x)
    if world()[1] > 1:
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found


def share(right: Tensor) -> Tensor:
    """Share of a bool tensor that is true, scalar float32; NaN when it is empty."""
    return right.to(torch.float32).mean()
