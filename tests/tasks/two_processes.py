"""What test_two_processes.py compares: steps and evaluation of the dense task, alone and shared.

As a program, one rank of a group that torchrun-like variables announce; writes its results to a file.
"""

from __future__ import annotations

import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitlens.data.dense.scenes import VOID, Truth
from bitlens.objectives.gather import world
from bitlens.tasks.config import DenseConfig
from bitlens.tasks.dense import DenseTask
from bitlens.training.distributed import parallelize, process_group

CASES = {
    f"{depth_loss}, {balance}": {"depth_loss": depth_loss, "balance": balance}
    for depth_loss, balance in product(("l1", "berhu", "silog"), ("fixed", "uncertainty"))
}


def scenes(images: int, seed: int) -> tuple[torch.Tensor, Truth]:
    """The later an image, the fewer of its pixels are known, so that processes hold unequal shares."""
    source = torch.Generator().manual_seed(seed)
    shape = (images, 9, 12)
    pictures = torch.randn(images, 3, 9, 12, generator=source, dtype=torch.float64)
    mask = torch.randint(4, shape, generator=source)
    depth = 0.5 + 4 * torch.rand(shape, generator=source, dtype=torch.float64)
    hidden = torch.rand(shape, generator=source) < torch.linspace(0, 0.9, images)[:, None, None]
    return pictures, Truth(mask.masked_fill(hidden, VOID), depth.masked_fill(hidden, 0))


def trained(config: dict[str, Any]) -> dict[str, Any]:
    """Gradients and losses of three steps, in the last of which only rank 0 knows depths."""
    torch.manual_seed(0)
    net = nn.Conv2d(3, 5, 5, 4, padding=2, dtype=torch.float64)
    task = DenseTask(net, heads={"segment": 4, "depth": 1}, config=DenseConfig(**config)).double()
    wrapped = parallelize(task, torch.device("cpu"))
    optimizer = torch.optim.SGD(task.parameters(), lr=0.05)
    rank, processes = world()
    gradients, losses = [], []
    for number in range(3):
        images, truth = scenes(4, number)
        if number == 2:
            truth.depth[2:] = 0
        mine = torch.arange(4).chunk(processes)[rank]
        optimizer.zero_grad()
        loss = wrapped(images[mine], truth[mine], mine).loss
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in task.named_parameters()})
        optimizer.step()
        losses.append(float(loss.detach()))
    images, truth = scenes(5, 9)
    # Five images in two processes: one evaluates three of them in two batches, the other two in one.
    shares = torch.arange(5)[rank::processes].split(2)
    task.crop = (0.1, 1.0, 0.0, 0.8)
    metrics = task.evaluate((images[share], truth[share]) for share in shares)
    return {"gradients": gradients, "losses": losses, "metrics": metrics}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        found = {name: trained(config) for name, config in CASES.items()}
        torch.save(found, Path(sys.argv[1]) / f"rank{os.environ['RANK']}.pt")
