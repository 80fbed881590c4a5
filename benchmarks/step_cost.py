"""Time of one training step: the float twin, every method, and a method with CMIM.

    python benchmarks/step_cost.py [--model resnet20-bireal-poolpad] [--threads 1] [--repeats 15]

A step is forward, loss, backward, the method's hooks, optimizer. All candidates take their steps in turns;
a candidate's ratio is the median over the rounds of its processor time by the reference's in the same
round. The reference of a method is the float twin, that of CMIM is its own method without CMIM. Rows are
appended to results/step_cost.csv.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from rows import append_rows

from bitlens.methods import METHODS
from bitlens.models import FLOAT, create
from bitlens.objectives.cmim import CMIM
from bitlens.studies.method_table.step_cost import Step, optimizer_step, time_steps
from bitlens.tasks.classify import ClassifyTask
from bitlens.training.feed import Batch
from bitlens.training.recipe import Recipe
from bitlens.training.run import environment

RESULTS = Path(__file__).parent.parent / "results" / "step_cost.csv"
COLUMNS = (
    "model", "batch_size", "image_size", "candidate", "reference", "step_ms", "ratio", "repeats",
    "threads", "cpu", "device", "torch", "bitlens", "commit", "started",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something whose steps are timed, and the name of what it is compared with."""

    reference: str
    step: Step


def training_step(model: str, method: str, preset: str | None, batch: int, size: int) -> Step:
    """One optimizer step of a freshly built net on fixed random images, channels last."""
    net = create(model, method=method, classes=10, channels=3, image_size=size)
    net = net.to(memory_format=torch.channels_last)
    objective = None if preset is None else CMIM(net, preset)
    task = ClassifyTask(net, objective, weight=0.02)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    drawn = Batch(images=images, labels=torch.randint(0, 10, (batch,)), indices=torch.arange(batch))
    return optimizer_step(Recipe(model=model, method=method), task, drawn)


def candidates(model: str, batch: int, size: int) -> dict[str, Candidate]:
    """The float twin, every method, and bireal with each preset of CMIM that needs no teacher."""

    def make(method: str, preset: str | None, reference: str) -> Candidate:
        return Candidate(
            reference=reference, step=training_step(model, method, preset, batch, size)
        )

    found = {FLOAT: make(FLOAT, None, FLOAT)}
    found |= {method: make(method, None, FLOAT) for method in METHODS}
    found |= {
        f"bireal + cmim {preset}": make("bireal", preset, "bireal") for preset in ("paper", "tuned")
    }
    return found


def main() -> None:
    """Measure, print a table and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20-bireal-poolpad")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    found = candidates(given.model, given.batch, given.size)
    timings = time_steps(
        {name: candidate.step for name, candidate in found.items()},
        {name: candidate.reference for name, candidate in found.items()},
        given.repeats,
    )
    place = environment(torch.device("cpu"), 1)
    place.pop("python"), place.pop("processes")
    rows = []
    print(f"{given.model}, batch {given.batch}, {given.size}x{given.size}, {given.threads} threads")
    for name, candidate in found.items():
        step, ratio = timings[name].milliseconds, timings[name].ratio
        print(f"{name:24s} {step:8.1f} ms  {ratio:6.3f} x {candidate.reference}")
        rows.append(
            {
                "model": given.model,
                "batch_size": given.batch,
                "image_size": given.size,
                "candidate": name,
                "reference": candidate.reference,
                "step_ms": round(step, 2),
                "ratio": round(ratio, 4),
                "repeats": given.repeats,
                **place,
            }
        )
    append_rows(given.out, COLUMNS, rows)


if __name__ == "__main__":
    main()
