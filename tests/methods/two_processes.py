"""What tests/methods/test_two_processes.py compares: the same steps of every method, alone and shared.

As a program, one rank of a group that torchrun-like variables announce; writes its results to a file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens import after_step, before_step, binarize, penalty, set_progress
from bitlens.methods import METHODS, get
from bitlens.models.layers import binary_layers
from bitlens.objectives.gather import world
from bitlens.training.distributed import (
    may_rest,
    parallelize,
    process_group,
    synchronize_batch_norm,
)

BATCH, TIMES = 8, (0.0, 0.5, 1.0, 0.0)
"""Progress of each step; a stage of a plan may begin after t = 1."""

STAGES = {"1-bit": (True, True), "real weights": (False, True), "all real": (False, False)}
"""Whether weights, and activations, are binary."""


class Task(nn.Module):
    """Net and loss in one forward pass, the method's penalty included."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(self.net(images), labels)
        added = penalty(self.net)
        return loss if added is None else loss + added


def build(method: str) -> nn.Module:
    """A float stem, a binary convolution, a binary linear layer and a float head, float64."""
    torch.manual_seed(0)
    nonlinearity = get(method).nonlinearity
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nonlinearity(4)),
        *(nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)),
    )
    for norm in (net[1], net[4], net[8]):
        # At bias 0 a count may equal the batch's mean, and rounding would decide its sign.
        nn.init.normal_(norm.bias)
    net = binarize(net, method, keep_float=("0", "9")).double().eval()
    with torch.no_grad():
        net(torch.zeros(1, 3, 8, 8, dtype=torch.float64))  # gives lazy parameters their shape
    return net.train()


def train(method: str, stage: str) -> dict[str, Any]:
    """Gradients of every step as the optimizer sees them, losses, and the state at the end."""
    net = build(method)
    for layer in binary_layers(net).values():
        layer.binary_weights, layer.binary_activations = STAGES[stage]
    if world()[1] > 1:
        synchronize_batch_norm(net)
    # Only what a layer without signs leaves aside may go without a gradient.
    resting = stage == "all real" and may_rest(net)
    wrapped = parallelize(Task(net), torch.device("cpu"), resting=resting)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    source = torch.Generator().manual_seed(0)
    gradients, losses = [], []
    rank, processes = world()
    for t in TIMES:
        images = torch.randn(BATCH, 3, 8, 8, generator=source, dtype=torch.float64)
        labels = torch.arange(BATCH) % 3
        set_progress(net, t)
        optimizer.zero_grad()
        loss = wrapped(images.chunk(processes)[rank], labels.chunk(processes)[rank])
        loss.backward()
        before_step(net)
        gradients.append(
            {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
        )
        optimizer.step()
        after_step(net)
        losses.append(float(loss.detach()))
    return {"gradients": gradients, "losses": losses, "state": net.state_dict()}


def everything() -> dict[str, Any]:
    """All methods in turn, in every stage a plan may have."""
    return {f"{method}, {stage}": train(method, stage) for method in METHODS for stage in STAGES}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        torch.save(everything(), Path(sys.argv[1]) / f"rank{os.environ['RANK']}.pt")
