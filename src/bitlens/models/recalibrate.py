"""Batch-norm statistics that fit the net as it is evaluated: re-estimated layer by layer.

A sign turns a shift of a hair into a flipped code, and a flat image background puts thousands of
positions at one and the same value. Running averages are collected while every batch still uses its own
statistics and while weights still flip, so in evaluation a whole background can land on the other side
of a threshold and every later layer then sees inputs that its own averages never saw. Averaging more
batches does not help; settling the norms in order, each with all earlier ones already in their
evaluation state, does. (Re-estimating batch norm with fixed binary weights: Liu et al., ECCV 2018.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitlens.models.complex import ComplexBatchNorm2d


class _Reached(Exception):
    """Ends a forward pass once the input of the wanted norm is known."""


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Sequence[Tensor]) -> int:
    """Re-estimate every batch norm of `net` from `batches`, in the order in which they are executed.

    Afterwards each norm's running mean and variance are exactly those of its input over all images, in
    evaluation mode. Costs about half a forward pass of all images per norm. The training flag of every
    module is left as it was.

    Args:
        net: any net; one without batch norm is left alone.
        batches: inputs (n, c, h, w) as in training, augmentation included; 2,000 images are plenty.

    Returns:
        The number of norms that were re-estimated.
    """
    flags = {module: module.training for module in net.modules()}
    net.eval()
    try:
        norms = _in_order(net, batches[0])
        for norm in norms:
            _settle(net, norm, batches)
    finally:
        for module, training in flags.items():
            module.training = training
    return len(norms)


def _in_order(net: nn.Module, batch: Tensor) -> list[_BatchNorm]:
    seen: dict[_BatchNorm, None] = {}

    def note(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        seen.setdefault(norm)

    tracked = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    handles = [norm.register_forward_pre_hook(note) for norm in tracked]
    try:
        net(batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(seen)


def _settle(net: nn.Module, norm: _BatchNorm, batches: Sequence[Tensor]) -> None:
    moments: list[tuple[int, Tensor, Tensor]] = []

    def measure(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        axes = [axis for axis in range(x.dim()) if axis != 1]
        variance, mean = torch.var_mean(x, axes, correction=0)
        if isinstance(module, ComplexBatchNorm2d):
            variance = module.products(x - mean[:, None, None]).mean(axes)
        moments.append((x.numel() // x.shape[1], mean.double(), variance.double()))
        raise _Reached

    handle = norm.register_forward_pre_hook(measure)
    try:
        for batch in batches:
            try:
                net(batch)
            except _Reached:
                pass
    finally:
        handle.remove()
    counts = torch.tensor([n for n, _, _ in moments], dtype=torch.float64)
    shares = (counts / counts.sum()).to(moments[0][1].device)[:, None]
    means = torch.stack([mean for _, mean, _ in moments])
    variances = torch.stack([variance for _, _, variance in moments])
    mean = (shares * means).sum(0)
    apart = means - mean
    squares = norm.products(apart) if isinstance(norm, ComplexBatchNorm2d) else apart.square()
    variance = (shares * (variances + squares)).sum(0)
    total = float(counts.sum())
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance * total / max(total - 1, 1))
