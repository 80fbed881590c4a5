"""Batches across ranks: differentiable gathering, so that n processes contrast like one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) without distribution."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return _gathered(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        rank, _ = world()
        summed = _total(grads[0])
        return summed[rank * ctx.rows : (rank + 1) * ctx.rows]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _total(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _total(grads[0])


def _gathered(x: Tensor) -> Tensor:
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world()[1])]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def _total(x: Tensor) -> Tensor:
    summed = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed)
    return summed


def gather(x: Tensor) -> Tensor:
    """Concatenate equally shaped (n, ...) tensors of all ranks in rank order: (ranks n, ...).

    Differentiable: the gradient of a rank's rows is the sum over all ranks' losses. With each rank's
    loss a mean over its own anchors, averaging parameter gradients over ranks (what DDP does) then
    gives exactly the gradient of the mean over the whole batch.
    """
    if world()[1] == 1:
        return x
    return _Gather.apply(x) if x.requires_grad else _gathered(x)  # pyrefly: ignore[bad-return]


def gather_shares(x: Tensor, counts: Sequence[int]) -> Tensor:
    """The same where rank r holds counts[r] rows, as every rank knows: (sum of counts, ...)."""
    if len(counts) == 1 or len(set(counts)) == 1:
        return gather(x)
    most = max(counts)
    padding = x.new_zeros(most - len(x), *x.shape[1:])
    parts = gather(torch.cat([x, padding])).split(most)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def total(x: Tensor) -> Tensor:
    """Sum over all ranks, the same on each; its gradient is the sum of all ranks' gradients."""
    if world()[1] == 1:
        return x
    return _Total.apply(x)  # pyrefly: ignore[bad-return]
