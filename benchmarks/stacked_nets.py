"""What stacking buys: training steps of many small nets together, against one net after the other.

    python benchmarks/stacked_nets.py

Nets of 12-64-16-12-8-6-2 units on the rule task, batches of 256, Adam. The peer is the same net as a
`torch.nn.Sequential` with torch's own optimizer, timed in turns with the stacks in the same run; rows go to
results/stacked_nets.csv.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.stack import StackedNet
from bitlens.training.run import environment

RESULTS = Path(__file__).parent.parent / "results" / "stacked_nets.csv"
WIDTHS = (12, 64, 16, 12, 8, 6, 2)
BATCH, STEPS, ROUNDS = 256, 30, 7
COLUMNS = (
    "way", "nets", "ms_per_step", "ms_per_net", "ratio_to_sequential", "rounds",
    "threads", "cpu", "torch", "bitlens", "commit", "started",
)  # fmt: skip


def sequential() -> nn.Sequential:
    """One net as torch builds it."""
    layers: list[nn.Module] = []
    for a, b in pairwise(WIDTHS):
        layers += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def stepper(nets: int | None) -> Callable[[], None]:
    """A training step of a stack of `nets`, or of one Sequential."""
    if nets is None:
        alone = sequential()
        x, y = torch.randn(BATCH, WIDTHS[0]), torch.randint(2, (BATCH,))
        return trainer(alone.parameters(), lambda: F.cross_entropy(alone(x), y))
    stack = StackedNet(KINDS["w32a32-bn"], WIDTHS, range(nets))
    x, y = torch.randn(nets, BATCH, WIDTHS[0]), torch.randint(2, (nets, BATCH))
    return trainer(
        stack.parameters(),
        lambda: F.cross_entropy(stack(x)[0].flatten(0, 1), y.flatten()) * nets,
    )


def trainer(parameters: object, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    steppers = {nets: stepper(nets) for nets in (None, 1, 10, 100)}
    taken: dict[int | None, list[float]] = {nets: [] for nets in steppers}
    for _ in range(ROUNDS):
        for nets, step in steppers.items():
            step()
            begun = time.perf_counter()
            for _ in range(STEPS):
                step()
            taken[nets].append(1e3 * (time.perf_counter() - begun) / STEPS)
    place = environment(torch.device("cpu"), 1)
    alone = statistics.median(taken[None])
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for nets, times in taken.items():
            ms = statistics.median(times)
            row = {
                "way": "sequential" if nets is None else "stacked",
                "nets": nets or 1,
                "ms_per_step": round(ms, 3),
                "ms_per_net": round(ms / (nets or 1), 4),
                "ratio_to_sequential": round(alone * (nets or 1) / ms, 2),
                "rounds": ROUNDS,
                **{name: place[name] for name in COLUMNS[6:]},
            }
            writer.writerow(row)
            sys.stdout.write(f"{row['way']} {row['nets']}: {row['ms_per_net']} ms a net\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
