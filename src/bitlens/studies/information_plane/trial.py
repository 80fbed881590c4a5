"""One trial of the study: a stack of nets of one kind, trained on one task and measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.information.steps import LogSteps
from bitlens.studies.information_plane.contrast import StackedContrast
from bitlens.studies.information_plane.kinds import KINDS, Kind
from bitlens.studies.information_plane.measure import measure
from bitlens.studies.information_plane.stack import StackedNet
from bitlens.studies.information_plane.tasks import Task, load_task
from bitlens.training.streams import seed_for

POINTS = 70

Tell = Callable[[int, int], None]
"""Called with steps done and steps in all."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is trained and measured together.

    Attributes:
        task: name in `TASKS`.
        hidden: units of the hidden layers.
        kind: name in `KINDS`.
        seeds: one net each.
        epochs: passes over the training set.
        batch: samples a step.
        lr: constant learning rate of Adam.
        weight_decay: decoupled, on weights only.
        matched: also read float layers by bins and by kernel densities, beside their signs.
    """

    task: str
    hidden: tuple[int, ...]
    kind: str
    seeds: tuple[int, ...]
    epochs: int
    batch: int
    lr: float
    weight_decay: float = 0.0
    matched: bool = True

    @property
    def name(self) -> str:
        """Distinct for distinct trials of one study; also its file's name."""
        shape = "-".join(str(units) for units in self.hidden)
        decay = f"_wd{self.weight_decay:g}" if self.weight_decay else ""
        return f"{self.task}_{shape}_{self.kind}{decay}_s{self.seeds[0]}x{len(self.seeds)}"


def run_trial(trial: Trial, tell: Tell | None = None) -> list[dict[str, Any]]:
    """Train and measure; one row per net, measured step, layer and read-out.

    Raises:
        BitlensError: the loss is not finite.
    """
    task, kind = load_task(trial.task), KINDS[trial.kind]
    net = StackedNet(kind, (task.inputs, *trial.hidden, task.classes), trial.seeds)
    contrast = StackedContrast(trial.hidden, trial.seeds) if kind.cmim else None
    steps = trial.epochs * (len(task.train[0]) // trial.batch)
    due = frozenset(LogSteps(POINTS).steps(steps))
    optimizer = _optimizer(trial, net, contrast)
    rows = _rows(trial, task, net, 0)
    for step, (x, y) in enumerate(_batches(trial, task), start=1):
        loss = _loss(net, kind, contrast, x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        optimizer.step()
        net.clamp_latent()
        if step in due:
            if not bool(loss.isfinite().all()):
                guilty = trial.seeds[int((~loss.isfinite()).nonzero()[0])]
                raise BitlensError(f"{trial.name}: the loss of seed {guilty} is {loss.max()}")
            rows += _rows(trial, task, net, step)
        if tell is not None:
            tell(step, steps)
    return rows


def _loss(
    net: StackedNet, kind: Kind, contrast: StackedContrast | None, x: Tensor, y: Tensor
) -> Tensor:
    logits, layers = net(x)
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(y).mean(1)
    return loss if contrast is None else loss + kind.cmim * contrast(layers)


def _optimizer(
    trial: Trial, net: StackedNet, contrast: StackedContrast | None
) -> torch.optim.Optimizer:
    rest = [*net.shifts, *net.gains, *(contrast.parameters() if contrast is not None else ())]
    return torch.optim.AdamW(
        [
            {"params": list(net.weights), "weight_decay": trial.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=trial.lr,
        fused=True,
    )


def _batches(trial: Trial, task: Task) -> Iterator[tuple[Tensor, Tensor]]:
    """(nets, batch, inputs) and (nets, batch), every net in an order of its own."""
    x, y = task.train
    orders = [torch.Generator().manual_seed(seed_for(seed, "order")) for seed in trial.seeds]
    for _ in range(trial.epochs):
        order = torch.stack([torch.randperm(len(x), generator=g) for g in orders])
        for chosen in order.split(trial.batch, dim=1):
            if chosen.shape[1] == trial.batch:
                yield x[chosen], y[chosen]


def _rows(trial: Trial, task: Task, net: StackedNet, step: int) -> list[dict[str, Any]]:
    # Where the probe is the training set, one pass over it serves both.
    apart = () if task.probe is task.train else (task.train[0],)
    rows = []
    for place, seed in enumerate(trial.seeds):
        layers, logits = net.probe(place, task.probe[0], (*apart, task.test[0]))
        on_probe, on_train, on_test = logits[0], logits[-2], logits[-1]
        common = {
            "seed": seed,
            "step": step,
            "train_accuracy": _accuracy(on_train, task.train[1]),
            "test_accuracy": _accuracy(on_test, task.test[1]),
            "train_loss": F.cross_entropy(on_train, task.train[1]).item(),
            "test_loss": F.cross_entropy(on_test, task.test[1]).item(),
        }
        found = measure(layers, on_probe, task, KINDS[trial.kind], trial.matched)
        rows += [common | row for row in found]
    return rows


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean().item()
