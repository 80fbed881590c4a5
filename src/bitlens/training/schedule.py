"""Stages, learning rate and parameter groups, as functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from bitlens.methods.contract import ONE_STEP, TWO_STEP
from bitlens.models.layers import BinaryLayer
from bitlens.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage of this run: epochs first..last (from 1), weight precision and decay."""

    number: int
    first: int
    last: int
    binary_weights: bool
    weight_decay: float

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return self.last - self.first + 1


def plan_stages(recipe: Recipe) -> list[StagePlan]:
    """Split the recipe's epochs over the stages of its plan; every stage gets at least one.

    Half an epoch is rounded up, so of an odd number the earlier stage has one more.
    """
    stages = TWO_STEP if recipe.plan == "two-step" else ONE_STEP
    plans, first = [], 1
    for number, stage in enumerate(stages, start=1):
        later = len(stages) - number
        wanted = max(math.floor(recipe.epochs * stage.share + 0.5), 1)
        last = min(first - 1 + wanted, recipe.epochs - later) if later else recipe.epochs
        decay = recipe.weight_decay if stage.weight_decay is None else stage.weight_decay
        plans.append(
            StagePlan(
                number=number,
                first=first,
                last=last,
                binary_weights=stage.binary_weights,
                weight_decay=decay,
            )
        )
        first = last + 1
    return plans


def set_binary_weights(net: nn.Module, binary: bool) -> None:
    """Switch every binary layer between 1-bit and real weights (activations stay binary)."""
    for module in net.modules():
        if isinstance(module, BinaryLayer):
            module.binary_weights = binary


def learning_rate(recipe: Recipe, step: int, steps: int, warmup_steps: int) -> float:
    """Learning rate at `step` of `steps` of one stage: linear warm-up, then the recipe's decay."""
    if step < warmup_steps:
        return recipe.lr * (step + 1) / warmup_steps
    share = (step - warmup_steps) / max(steps - warmup_steps, 1)
    if recipe.schedule == "linear":
        return recipe.lr * (1 - share)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))
    return recipe.lr


def make_optimizer(recipe: Recipe, task: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Optimizer over the net and the objective's heads; decay on weight matrices only."""
    trained = [p for p in task.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    # One kernel for all tensors: a contrast adds four small ones per layer.
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    nesterov = recipe.momentum > 0
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True
    )
