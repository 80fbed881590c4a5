"""Stages, learning rate and parameter groups, as functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bitlens.errors import BitlensError
from bitlens.methods import get
from bitlens.methods.contract import ONE_STEP, THREE_STEP, TWO_STEP, Stage
from bitlens.models.layers import BinaryLayer
from bitlens.training.recipe import Recipe, check_plan

PLANS: dict[str, tuple[Stage, ...]] = {
    "one-step": ONE_STEP,
    "two-step": TWO_STEP,
    "three-step": THREE_STEP,
}
"""The stages of every plan but "own", which the method brings along."""

MULTIPLE = "lr_multiple"
"""Key of a parameter group whose learning rate is a multiple of the recipe's."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage of this run: epochs first..last (from 1), what is 1-bit in them, and the decay."""

    number: int
    first: int
    last: int
    binary_weights: bool
    binary_activations: bool
    weight_decay: float

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return self.last - self.first + 1


def plan_stages(recipe: Recipe) -> list[StagePlan]:
    """Split the recipe's epochs over the stages of its plan; every stage gets at least one.

    Half an epoch is rounded up, so of an odd number the earlier of two stages has one more.

    Raises:
        BitlensError: the method's own plan does not end in a binary net or its shares do not sum to 1,
            or the recipe leaves no room for it (see `check_plan`).
    """
    stages = _own_stages(recipe) if recipe.plan == "own" else PLANS[recipe.plan]
    if recipe.epochs < len(stages):
        check_plan(recipe, stages=len(stages), shortest=1, real_activations=None)
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
                binary_activations=stage.binary_activations,
                weight_decay=decay,
            )
        )
        first = last + 1
    check_plan(
        recipe,
        stages=len(plans),
        shortest=min(plan.epochs for plan in plans),
        real_activations=next((p.number for p in plans if not p.binary_activations), None),
    )
    return plans


def _own_stages(recipe: Recipe) -> tuple[Stage, ...]:
    stages = get(recipe.method).plan
    shares = [stage.share for stage in stages]
    if not stages or min(shares) <= 0 or not math.isclose(sum(shares), 1):
        raise BitlensError(
            f"method {recipe.method!r}: the shares of its plan are {shares}; they must be positive and "
            "sum to 1"
        )
    if not (stages[-1].binary_weights and stages[-1].binary_activations):
        raise BitlensError(
            f"method {recipe.method!r}: its plan ends with real weights or activations; the last stage "
            "must make both binary"
        )
    return stages


def set_precision(net: nn.Module, *, binary_weights: bool, binary_activations: bool) -> None:
    """Switch every binary layer between 1-bit and real weights, and between signs and clipping."""
    for module in net.modules():
        if isinstance(module, BinaryLayer):
            module.binary_weights = binary_weights
            module.binary_activations = binary_activations


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


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate, times its multiple where the method asked for one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(MULTIPLE, 1.0)


def make_optimizer(recipe: Recipe, task: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Optimizer over the net and the objective's heads, in the groups of `parameter_groups`."""
    groups = parameter_groups(task, weight_decay)
    set_to = {"lr": recipe.lr, "fused": True}
    # One kernel for all tensors: a contrast adds four small ones per layer.
    if recipe.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, **set_to)
    else:
        nesterov = recipe.momentum > 0
        optimizer = torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=nesterov, **set_to)
    set_learning_rate(optimizer, recipe.lr)
    return optimizer


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give parameters that get their first gradient after others' first step a momentum of zero.

    Call before each step. A method may let a parameter join in late; torch's fused SGD takes momenta
    for all parameters of a group or for none. From zero the first step is the one it would take anyway.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        moving = [p for p in group["params"] if p.grad is not None]
        late = [p for p in moving if p not in optimizer.state]
        if group["momentum"] and len(late) < len(moving):
            for parameter in late:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def parameter_groups(task: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters by the decay and the learning rate they get; frozen ones are left out.

    Matrices (weights of convolutions, linear layers and heads) have `weight_decay`, the latent weights
    of binary layers too unless their method sets its own. Vectors and single numbers (norms, biases)
    and what a binarizer owns, of any shape, have none unless it says that it decays. The first two
    groups are these two, in this order and possibly empty; further ones exist only where a method asks
    for them.

    Raises:
        BitlensError: a lazy parameter without values, or a rule for a parameter that its method has not.
    """
    _check_initialised(task)
    rules = _method_rules(task)
    groups: dict[tuple[float | None, float], list[nn.Parameter]] = {(None, 1.0): [], (0.0, 1.0): []}
    for parameter in task.parameters():
        if parameter.requires_grad:
            usual = (None if parameter.dim() > 1 else 0.0, 1.0)
            groups.setdefault(rules.get(parameter, usual), []).append(parameter)
    return [
        {"params": members, "weight_decay": weight_decay if decay is None else decay}
        | ({} if multiple == 1 else {MULTIPLE: multiple})
        for (decay, multiple), members in groups.items()
    ]


def _check_initialised(task: nn.Module) -> None:
    for name, parameter in task.named_parameters():
        if isinstance(parameter, nn.UninitializedParameter):
            raise BitlensError(
                f"parameter {name!r} is lazy and has no values yet, so no optimizer can have it; run one "
                "forward pass first"
            )


def _method_rules(task: nn.Module) -> dict[nn.Parameter, tuple[float | None, float]]:
    """Decay (None: the recipe's) and multiple of the learning rate of what binary layers hold."""
    rules: dict[nn.Parameter, tuple[float | None, float]] = {}
    for layer in task.modules():
        if not isinstance(layer, BinaryLayer):
            continue
        for part in (layer.weight_binarizer, layer.activation, layer.output):
            if part is not None:
                rules |= dict.fromkeys(part.parameters(), (0.0, 1.0))
        own = dict(layer.weight_binarizer.named_parameters())
        multiples = layer.weight_binarizer.learning_rates()
        decaying = layer.weight_binarizer.decaying()
        for name in (*multiples, *decaying):
            if name not in own:
                what = "a learning rate" if name in multiples else "weight decay"
                raise BitlensError(
                    f"method {layer.method_name!r}: {what} is set for {name!r}, but the weight "
                    f"binarizer's parameters are {', '.join(own) or 'none'}"
                )
            decay = layer.latent_decay if name in decaying else 0.0
            rules[own[name]] = (decay, multiples.get(name, 1.0))
        rules[layer.weight] = (layer.latent_decay, 1.0)
    return rules
