"""What each of two gloo processes does for test_plane_processes.py: measure, and meet a NaN."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

import bitlens
from bitlens.errors import BitlensError
from bitlens.information.plane import InformationPlane
from bitlens.training.distributed import process_group, synchronize_batch_norm


class Spoilt(nn.Module):
    """Gives NaN for samples that begin with 99."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape."""
        return x.masked_fill(x[:, :1] == 99.0, float("nan"))


def measured(wrap: bool) -> list[Any]:
    """Rows of two points, between which the net changes, without their times; None where none came."""
    torch.manual_seed(0)
    units = [nn.Linear(8, 10), nn.BatchNorm1d(10), nn.Linear(10, 7), nn.BatchNorm1d(7)]
    net = bitlens.binarize(nn.Sequential(*units, nn.Linear(7, 3)), "bnn", keep_float=("0", "4"))
    if wrap:
        synchronize_batch_norm(net)
    x, y = torch.randn(333, 8), torch.arange(333) % 3
    plane = InformationPlane(net, (x, y), schedule=[0, 1], batch_size=50, layers="1,3,2,4")
    rows = [plane.measure(0)]
    net[2].weight.data.neg_()
    net[0].weight.data.roll(1, 0)
    rows.append(plane.measure(1))
    return [row and {"step": row["step"], "layers": row["layers"]} for row in rows]


def failure() -> str:
    """What is told when a sample of the last batch only gives NaN."""
    torch.manual_seed(0)
    net = nn.Sequential(Spoilt(), nn.Tanh(), nn.Linear(4, 2))
    x, y = torch.randn(100, 4), torch.arange(100) % 2
    x[75, 0] = 99.0
    try:
        InformationPlane(net, (x, y), schedule=[0], batch_size=50).measure(0)
    except BitlensError as error:
        return str(error)
    return ""


def different(rank: int, processes: int) -> str:
    """What is told where every process brings its own share of the samples, equally many."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))
    x, y = torch.randn(200, 4)[rank::processes], torch.arange(100) % 2
    try:
        InformationPlane(net, (x, y), schedule=[0], batch_size=50).measure(0)
    except BitlensError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        told = {"rows": measured(True), "failure": failure()}
        told["different"] = different(int(os.environ["RANK"]), 2)
        Path(sys.argv[1], f"rank{os.environ['RANK']}.json").write_text(json.dumps(told))
