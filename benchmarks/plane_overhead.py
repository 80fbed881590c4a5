"""What measuring the information plane adds to a training: a step against a point, and a whole run.

    python benchmarks/plane_overhead.py [--recipe resnet20-cifar10] [--epochs 10] [--threads 1]

Training steps and points are timed in turns, some steps and then one point, in seconds of the processor,
which a busy machine stretches less than those of the clock. The overhead of the whole training is
extrapolated from the medians: points of the default schedule by the time of one, over steps by the time
of one (evaluation after each epoch, which would make it smaller, is not counted). As a check a shorter
training is run as it is, evaluation and all, without and with the plane; what it takes more is set
beside what the median of the points foretells. Needs the recipe's data, see BITLENS_DATA. Rows are
appended to results/plane_overhead.csv.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rows import append_rows

from bitlens.information.steps import LogSteps
from bitlens.models.layers import after_step, before_step
from bitlens.recipes import recipe as named_recipe
from bitlens.training.build import build_task
from bitlens.training.feed import Feed
from bitlens.training.fit import fit, no_teacher
from bitlens.training.plane import RunPlane
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.recipe import Recipe
from bitlens.training.run import environment
from bitlens.training.schedule import make_optimizer
from bitlens.training.streams import Streams

RESULTS = Path(__file__).parent.parent / "results" / "plane_overhead.csv"
COLUMNS = (
    "recipe", "model", "method", "how", "epochs", "steps", "points", "samples", "step_ms", "point_ms",
    "seconds_without", "seconds_with", "overhead", "foretold", "repeats",
    "threads", "cpu", "device", "torch", "bitlens", "commit", "started",
)  # fmt: skip
STEPS_BETWEEN = 12
"""Training steps that are timed between two points."""


class Timed:
    """One net in training, whose steps and points can be timed one by one."""

    def __init__(self, recipe: Recipe, settings: PlaneSettings, folder: Path) -> None:
        cpu = torch.device("cpu")
        self.feed = Feed(recipe, cpu)
        self.task = build_task(recipe, self.feed.data, len(self.feed.train), cpu, no_teacher)
        self.optimizer = make_optimizer(recipe, self.task, recipe.weight_decay)
        self.plane = RunPlane(self.task.net, self.feed, settings, folder / "plane.jsonl")
        self.plane.start()
        self.batches = self._endless(Streams(recipe.seed))
        self.task.net.train()

    def _endless(self, streams: Streams) -> Iterator[Any]:
        while True:
            yield from self.feed.epoch(streams)

    def step(self) -> float:
        """Processor milliseconds of one optimizer step, data and augmentation included."""
        begun = time.process_time()
        batch = next(self.batches)
        self.optimizer.zero_grad(set_to_none=True)
        output = self.task(batch.images, batch.labels, batch.indices)
        output.loss.backward()
        before_step(self.task.net)
        self.optimizer.step()
        after_step(self.task.net)
        output.loss.item()
        return (time.process_time() - begun) * 1e3

    def point(self, number: int) -> float:
        """Processor milliseconds of one point, its line on the disk included."""
        begun = time.process_time()
        self.plane.step(self.plane.plane.schedule[number])
        return (time.process_time() - begun) * 1e3


def in_turns(timed: Timed, repeats: int) -> tuple[list[float], list[float]]:
    """Milliseconds of steps and of points; the first round, which checks and warms up, is left out."""
    steps: list[float] = []
    points: list[float] = []
    for number in range(repeats + 1):
        steps += [timed.step() for _ in range(STEPS_BETWEEN)]
        points.append(timed.point(number))
    return steps[STEPS_BETWEEN:], points[1:]


def whole_run(recipe: Recipe, settings: PlaneSettings | None) -> float:
    """Processor seconds of a whole run."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        fit(recipe, Path(folder) / "run", plane=settings)
        return time.process_time() - begun


def main() -> None:
    """Measure, print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="resnet20-cifar10")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=0, help="of the probe; 0 is the default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15, help="points that are timed")
    parser.add_argument("--run-images", type=int, default=3200, help="of the shorter training")
    parser.add_argument("--run-points", type=int, default=8, help="of its schedule")
    parser.add_argument("--run-repeats", type=int, default=1, help="of the shorter one; 0 for none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = replace(named_recipe(given.recipe), epochs=given.epochs)
    place = environment(torch.device("cpu"), 1)
    place.pop("python"), place.pop("processes")
    with tempfile.TemporaryDirectory() as folder:
        timed = Timed(recipe, PlaneSettings(samples=given.samples), Path(folder))
        taken = [statistics.median(values) for values in in_turns(timed, given.repeats)]
    step, point = taken
    plane = timed.plane.plane
    shared = {
        "recipe": given.recipe,
        "model": recipe.model,
        "method": recipe.method,
        "step_ms": round(step, 2),
        "samples": plane.probe.samples,
        **place,
    }
    steps = recipe.epochs * timed.feed.steps
    overhead = len(plane.schedule) * point / (steps * step)
    rows = [
        {
            **shared,
            "how": "extrapolated",
            "epochs": recipe.epochs,
            "steps": steps,
            "points": len(plane.schedule),
            "point_ms": round(point, 1),
            "seconds_without": round(steps * step / 1e3, 1),
            "seconds_with": round((steps * step + len(plane.schedule) * point) / 1e3, 1),
            "overhead": round(overhead, 4),
            "repeats": given.repeats,
        }
    ]
    print(
        f"{given.recipe}: step {step:.1f} ms, point {point:.0f} ms on {plane.probe.samples} samples; "
        f"{len(plane.schedule)} points in {steps} steps: {100 * overhead:.1f} % (extrapolated)"
    )
    if given.run_repeats:
        rows.append(_check(recipe, given, shared, point))
    append_rows(given.out, COLUMNS, rows)


def _check(
    recipe: Recipe, given: argparse.Namespace, shared: dict[str, Any], point: float
) -> dict[str, Any]:
    short = replace(recipe, epochs=1, train_images=given.run_images)
    settings = PlaneSettings(points=given.run_points, samples=shared["samples"])
    steps = given.run_images // recipe.batch_size
    points = len(LogSteps(settings.points).steps(steps))
    without, beside = [], []
    for _ in range(given.run_repeats):
        without.append(whole_run(short, None))
        beside.append(whole_run(short, settings))
    bare, measured = statistics.median(without), statistics.median(beside)
    foretold = points * point / 1e3
    print(
        f"run of {steps} steps, evaluation and all: {bare:.1f} s without, {measured:.1f} s with "
        f"{points} points, {measured - bare:.1f} s more; foretold {foretold:.1f} s"
    )
    return {
        **shared,
        "how": "whole run",
        "epochs": 1,
        "steps": steps,
        "points": points,
        "point_ms": round(1e3 * (measured - bare) / points, 1),
        "seconds_without": round(bare, 1),
        "seconds_with": round(measured, 1),
        "overhead": round(measured / bare - 1, 4),
        "foretold": round(foretold / bare, 4),
        "repeats": given.run_repeats,
    }


if __name__ == "__main__":
    main()
