"""Several processes training one net: set-up under torchrun, shared batch statistics, DDP."""

from __future__ import annotations

import inspect
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bitlens.models.layers import BinaryLayer
from bitlens.objectives.gather import total, world


@contextmanager
def process_group(device: torch.device) -> Generator[tuple[int, int]]:
    """Join the group torchrun announces in the environment, if any; yields (rank, processes)."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield world()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield world()
    finally:
        dist.destroy_process_group()


class SyncedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the batch of all processes, on any device.

    torch's SyncBatchNorm refuses CPU tensors. With per-process statistics two processes would not
    compute the gradient of one; here they do, up to rounding.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (n, c, ...) is fine."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, ...) -> same shape."""
        if not self.training or world()[1] == 1:
            return super().forward(input)
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        processes = world()[1]
        # Two passes: E[x^2] - E[x]^2 would lose half the digits where the mean is large.
        mean = total(wide.mean(axes)) / processes
        centered = wide - mean.view(shape)
        variance = total(centered.square().mean(axes)) / processes
        with torch.no_grad():
            count = input.numel() // input.shape[1] * processes
            self._track(mean, variance * (count / max(count - 1, 1)))
        out = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if (
            self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            return
        self.num_batches_tracked += 1
        momentum = (
            self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        )
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def synchronize_batch_norm(net: nn.Module) -> None:
    """Replace every BatchNorm of `net` by a `SyncedBatchNorm` with the same parameters and names."""
    for parent in net.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                synced = SyncedBatchNorm(
                    child.num_features,
                    eps=child.eps,
                    momentum=child.momentum,
                    affine=child.affine,
                    track_running_stats=child.track_running_stats,
                )
                # Assigning keeps device and precision; copying would round float64 to float32.
                synced.load_state_dict(child.state_dict(), assign=True)
                setattr(parent, name, synced.train(child.training))


def parallelize(task: nn.Module, device: torch.device, *, resting: bool = False) -> nn.Module:
    """The task, wrapped so that gradients are averaged over processes; itself for one process.

    Net and objective heads are wrapped together, so no head can miss its averaging.

    Args:
        task: what is trained.
        device: of its parameters.
        resting: some parameters may get no gradient in some steps (see `may_rest`). Without this the
            wrapper waits for each of them; with it, it walks the graph of every step.
    """
    if world()[1] == 1:
        return task
    ids = [device.index] if device.type == "cuda" else None
    # The buffers agree anyway, and banks are large; torch 2.13 renamed the option.
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    return nn.parallel.DistributedDataParallel(
        task, device_ids=ids, find_unused_parameters=resting, **options
    )


def may_rest(net: nn.Module) -> bool:
    """Whether some parameters of `net` may go without a gradient in some steps.

    What a binarizer owns does while its layer computes in real numbers, and where the method switches
    a part off as training goes on.
    """
    return any(
        parameter.requires_grad
        for layer in net.modules()
        if isinstance(layer, BinaryLayer)
        for part in (layer.weight_binarizer, layer.activation, layer.output)
        if part is not None
        for parameter in part.parameters()
    )
