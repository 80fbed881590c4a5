"""How a critic is built, trained on one part of the samples, and kept by another.

Adam with a small weight decay on batches of the training part; at forty points on the way the validation
part is looked at, and the weights that did best on it are kept. Cost: steps * batch passes of a net with
one hidden layer at most. Nothing here sees the held-out part, which is for judging.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError

_CHECKS = 40
_DECAY = 1e-4


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a critic is trained.

    Attributes:
        hidden: units of the hidden layer; 0 makes the probe of labels linear.
        steps: steps of Adam.
        batch: samples a step, and for InfoNCE also the number B of pairs that sets the ceiling log2 B.
        rate: learning rate at the first step; it falls to 0 along half a cosine.
        held_out: share of the samples that judge the critic; half as many pick the training step.
        seed: of the split, the first weights and the order.
    """

    hidden: int = 0
    steps: int = 600
    batch: int = 256
    rate: float = 0.01
    held_out: float = 0.25
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class CriticBound:
    """A lower bound on an information, in bits.

    Attributes:
        bound: mean over the held-out samples; may come out below 0, where 0 is the better bound.
        standard_error: of that mean, from the spread over held-out samples (labels) or batches (pairs).
        ceiling: what `bound` cannot exceed: H(Y) of the held-out labels, or log2 B.
        samples: held-out samples used.
        kept_step: training step whose weights were kept.
    """

    bound: float
    standard_error: float
    ceiling: float
    samples: int
    kept_step: int


def check_training(training: Training, least_hidden: int) -> None:
    """Refuse settings that cannot train.

    Raises:
        BitlensError: naming the first bad setting.
    """
    if training.hidden < least_hidden:
        raise BitlensError(f"hidden={training.hidden}: use {least_hidden} units or more")
    if training.steps < 1 or training.batch < 2:
        raise BitlensError(
            f"steps={training.steps}, batch={training.batch}: use a step or more, on two samples or more"
        )
    if not (training.rate > 0 and math.isfinite(training.rate)):
        raise BitlensError(f"rate={training.rate}: the learning rate must be a positive number")
    if not 0.05 <= training.held_out <= 0.6:
        raise BitlensError(f"held_out={training.held_out}: choose a share from .05 to .6")


def split_samples(
    samples: int, held_out: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Shuffled places 0 .. samples - 1 in three parts: training, validation, held out."""
    order = torch.randperm(samples, generator=generator)
    judge = round(samples * held_out)
    validate = round(samples * held_out / 2)
    return order[judge + validate :], order[judge : judge + validate], order[:judge]


def standardise(rows: Tensor, train: Tensor) -> Tensor:
    """Rows as float32 with mean 0 and spread 1 over the training part, unit by unit."""
    rows = rows.double()
    spread, mean = torch.std_mean(rows[train], dim=0)
    # A unit that is constant in training says nothing; its rounding noise must not be blown up.
    return torch.where(spread > 1e-8, (rows - mean) / spread, 0.0).float()


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    # Made without storage first: the layer's own start would draw from the global generator.
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    nn.init.normal_(layer.weight, std=1 / math.sqrt(inputs), generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def make_net(
    inputs: int,
    hidden: int,
    outputs: int,
    generator: torch.Generator,
    log_prior: Tensor | None = None,
) -> nn.Sequential:
    """A net without or with a hidden layer; with `log_prior` it answers just that until trained."""
    last = _linear(hidden or inputs, outputs, generator)
    if log_prior is not None:
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(log_prior)
    if not hidden:
        return nn.Sequential(last)
    return nn.Sequential(_linear(inputs, hidden, generator), nn.ReLU(), last)


def train_critic(
    critic: nn.Module,
    loss: Callable[[Tensor], Tensor],
    validate: Callable[[], float],
    train: Tensor,
    training: Training,
    generator: torch.Generator,
) -> int:
    """Adam on batches of the training part; leaves the weights that did best on the validation part."""
    optimizer = torch.optim.AdamW(critic.parameters(), lr=training.rate, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
    best, kept, weights = math.inf, 0, copy.deepcopy(critic.state_dict())
    every = max(1, training.steps // _CHECKS)
    batch = min(training.batch, len(train))
    order = train[:0]
    for step in range(training.steps + 1):
        if step % every == 0 or step == training.steps:
            with torch.no_grad():
                reached = validate()
            if reached < best:
                best, kept, weights = reached, step, copy.deepcopy(critic.state_dict())
        if step == training.steps:
            break
        if len(order) < batch:
            order = train[torch.randperm(len(train), generator=generator)]
        part, order = order[:batch], order[batch:]
        optimizer.zero_grad()
        loss(part).backward()
        optimizer.step()
        schedule.step()
    critic.load_state_dict(weights)
    return kept


def summarise(gains: Tensor, ceiling: float, samples: int, kept: int) -> CriticBound:
    """Mean and standard error of independent gains in nats, as a bound in bits."""
    return CriticBound(
        bound=float(gains.mean()) / math.log(2),
        standard_error=float(gains.std()) / math.sqrt(len(gains)) / math.log(2),
        ceiling=ceiling / math.log(2),
        samples=samples,
        kept_step=kept,
    )
