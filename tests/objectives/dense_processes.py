"""What test_dense_processes.py compares: dense pairs in one process and in several.

As a program, one rank of a group that torchrun-like variables announce; writes its results to a file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import bitlens
from bitlens.objectives.cmim import CMIM
from bitlens.objectives.gather import gather, gather_shares, world

BATCH, STEPS = 4, 5
CASES: dict[str, dict[str, Any]] = {
    "region": {"pairs": "region", "pool": 2},
    "region-drawn": {"pairs": "region", "pool": 2, "anchors": 7},
    "region-nce": {"pairs": "region", "pool": 2, "anchors": 7, "loss": "nce", "learn_critic": True},
    "location": {"pairs": "location", "anchors": 15},
    "location-nce": {"pairs": "location", "anchors": 15, "loss": "nce"},
    "location-few": {"pairs": "location", "anchors": 2},
    "location-queue": {"pairs": "location", "anchors": 15, "source": "queue", "negatives": 40},
    "location-binary": {"pairs": "location", "anchors": 15, "grad": "binary-only"},
}


def my_share(whole: Tensor) -> Tensor:
    """This rank's contiguous part of a batch."""
    rank, processes = world()
    return whole.chunk(processes)[rank]


def train(settings: dict[str, Any]) -> dict[str, Any]:
    """A few steps of a net without batch statistics, gradients averaged over the ranks."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1))
    net = bitlens.binarize(net, "bireal", keep_float=()).double()
    cmim = CMIM(net, "dense", seed=2, **({"width": 8} | settings)).double()
    named = dict([*net.named_parameters(), *cmim.named_parameters()])
    named = {name: p for name, p in named.items() if p.requires_grad}
    optimizer = torch.optim.SGD(named.values(), lr=0.1)
    source = torch.Generator().manual_seed(0)
    gradients, losses, bounds, ceilings = [], [], [], []
    counts: list[tuple[int, ...]] = []
    assert cmim.draw is not None
    cmim.draw.register_forward_hook(lambda _, __, drawn: counts.append(drawn.counts))
    for _ in range(STEPS):
        images = torch.randn(BATCH, 3, 4, 6, generator=source, dtype=torch.float64)
        indices = torch.randperm(6, generator=source)[:BATCH]
        net(my_share(images).requires_grad_())
        term = cmim(indices=my_share(indices))
        optimizer.zero_grad()
        term.loss.backward()
        for parameter in named.values():
            if world()[1] > 1 and parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= world()[1]
        gradients.append({n: p.grad.clone() for n, p in named.items() if p.grad is not None})
        optimizer.step()
        assert term.bound is not None and term.ceiling is not None
        losses.append(float(gather(term.loss.detach()[None]).mean()))
        bounds.append(float(gather(term.bound[None]).mean()))
        ceilings.append(float(gather(torch.tensor([term.ceiling])).mean()))
    return {
        "gradients": gradients,
        "losses": losses,
        "bounds": bounds,
        "ceilings": ceilings,
        "counts": [list(c) for c in counts],
        "state": cmim.state_dict(),
    }


def gather_unequal() -> dict[str, Any]:
    """Shares of three rows and of one, with losses that weigh the rows differently."""
    rank, _ = world()
    x = (torch.arange(2.0 * (3, 1)[rank]).view(-1, 2) + 10 * rank).requires_grad_()
    rows = gather_shares(x, (3, 1))
    ((rank + 1) * rows.square()).sum().backward()
    nothing = gather_shares(torch.ones((0, 2)[rank]), (0, 2))
    return {"rows": rows.detach(), "gradient": x.grad, "nothing": nothing}


def everything() -> dict[str, Any]:
    """All results of this rank."""
    return {
        "gather": gather_unequal(),
        "cases": {name: train(settings) for name, settings in CASES.items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.save(everything(), Path(sys.argv[1]) / f"rank{os.environ['RANK']}.pt")
    dist.destroy_process_group()
