"""What a training step costs beside the float twin's: all take their steps in turns in one process.

A step is forward, losses, backward, the method's hooks and the optimizer. What a method does once in many
steps (a rotation found anew) is in few of the timed ones, and a median does not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from bitlens.engine.bench.timing import CLOCKS, Timing, compare, interleave
from bitlens.models.convert import set_progress
from bitlens.models.layers import after_step, before_step
from bitlens.tasks.step import Task
from bitlens.training.build import build_task
from bitlens.training.feed import Batch, Feed
from bitlens.training.fit import no_teacher
from bitlens.training.recipe import Recipe
from bitlens.training.schedule import begin_momentum, make_optimizer
from bitlens.training.streams import Streams

HALFWAY = 0.5
"""Training progress at which steps are timed: what a method adds while it trains has not faded yet."""

Step = Callable[[], None]


def optimizer_step(recipe: Recipe, task: Task, batch: Batch) -> Step:
    """One training step on `batch`, to be called again and again; the net learns from it."""
    optimizer = make_optimizer(recipe, task, recipe.weight_decay)
    set_progress(task.net, HALFWAY)
    task.net.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        task(batch.images, batch.truth, batch.indices).loss.backward()
        before_step(task.net)
        begin_momentum(optimizer)
        optimizer.step()
        after_step(task.net)

    return step


def time_steps(
    steps: Mapping[str, Step], references: Mapping[str, str], rounds: int
) -> dict[str, Timing]:
    """Time every step in turns, in processor time: other programs take none of it, and threads add up.

    Args:
        steps: by name.
        references: of each name, that of the step its `ratio` is to, round by round.
        rounds: turns of every step.
    """
    taken = interleave(steps, rounds, clock=CLOCKS["cpu"])
    return {name: compare(own, taken[references[name]]) for name, own in taken.items()}


def recipe_timings(recipes: Mapping[str, Recipe], feed: Feed, rounds: int) -> dict[str, Timing]:
    """Time a step of each recipe's net, freshly made, on the first batch of the feed's images.

    Args:
        recipes: by name; they need no teacher. Ratios are to the first.
        feed: of the images.
        rounds: in which each takes a step.
    """
    batch = next(feed.epoch(Streams(feed.recipe.seed)))
    steps = {}
    for name, recipe in recipes.items():
        task = build_task(recipe, feed.data, len(feed.train), torch.device("cpu"), no_teacher)
        steps[name] = optimizer_step(recipe, task, batch)
    return time_steps(steps, dict.fromkeys(recipes, next(iter(recipes))), rounds)
