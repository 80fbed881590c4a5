"""Batches across ranks: differentiable gathering, so that n processes contrast like one."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) without distribution."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(x: Tensor) -> Tensor:
    """Concatenate equally shaped (n, ...) tensors of all ranks in rank order: (ranks n, ...).

    Differentiable: the gradient of a rank's rows is the sum over all ranks' losses. With each rank's
    loss a mean over its own anchors, averaging parameter gradients over ranks (what DDP does) then
    gives exactly the gradient of the mean over the whole batch.
    """
    _, processes = world()
    if processes == 1:
        return x
    if x.is_floating_point():
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(x))
    parts = [torch.empty_like(x) for _ in range(processes)]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
