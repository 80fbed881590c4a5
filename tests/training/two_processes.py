"""What tests/training/test_distributed.py compares: the same steps in one process and in several.

As a program, one rank of a group that torchrun-like variables announce; writes its results to a file.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.bits import hard_tanh, sign, sign_values
from bitlens.methods.contract import Progress, WeightBinarizer, per_filter
from bitlens.methods.reactnet import REACTNET
from bitlens.models import create
from bitlens.models.convert import set_progress
from bitlens.models.layers import after_step, before_step
from bitlens.objectives.attention import AttentionMatching
from bitlens.objectives.cmim import CMIM
from bitlens.objectives.gather import gather, world
from bitlens.objectives.negatives import Batch
from bitlens.tasks.classify import ClassifyTask
from bitlens.training.distributed import (
    SyncedBatchNorm,
    may_rest,
    parallelize,
    process_group,
    synchronize_batch_norm,
)
from bitlens.training.recipe import Recipe
from bitlens.training.schedule import (
    begin_momentum,
    make_optimizer,
    plan_stages,
    set_precision,
)

BATCH, IMAGES, STEPS = 12, 50, 3
PLANS = ("one-step", "two-step", "three-step")
NORM_SHAPES = ((8, 3), (8, 3, 5), (8, 3, 4, 5))
CASES: dict[str, dict[str, Any]] = {
    "batch": {},
    "batch-class": {"exclude": "class"},
    "batch-infonce": {"loss": "infonce", "learn_critic": True, "beta": 2.0},
    "batch-learned": {"learn_critic": True, "head": "mlp", "pool": 2},
    "queue": {"source": "queue", "negatives": 20},
    "queue-class": {"source": "queue", "negatives": 20, "exclude": "class"},
    "bank": {"source": "bank", "negatives": 16},
    "bank-class": {"source": "bank", "negatives": 16, "exclude": "class"},
}


def my_share(whole: Tensor) -> Tensor:
    """This rank's contiguous part of a batch."""
    rank, processes = world()
    return whole.chunk(processes)[rank]


def train(settings: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """A few steps of a small net with CMIM: gradients of each step, mean losses, final state."""
    net = create("resnet8-bireal-poolpad", method="bireal", classes=4, channels=3, image_size=8)
    if world()[1] > 1:
        synchronize_batch_norm(net)
    task = ClassifyTask(net, CMIM(net, dataset_size=IMAGES, **settings), weight=0.3).to(dtype)
    wrapped = parallelize(task, torch.device("cpu"))
    optimizer = torch.optim.SGD(task.parameters(), lr=0.05)
    source = torch.Generator().manual_seed(0)
    gradients, losses, bounds = [], [], []
    for _ in range(STEPS):
        images = torch.randn(BATCH, 3, 8, 8, generator=source, dtype=torch.float64).to(dtype)
        labels = torch.arange(BATCH) % 4
        indices = torch.randperm(IMAGES, generator=source)[:BATCH]
        optimizer.zero_grad()
        output = wrapped(my_share(images), my_share(labels), my_share(indices))
        output.loss.backward()
        gradients.append(
            {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}
        )
        optimizer.step()
        losses.append(float(gather(output.loss.detach()[None]).mean()))
        bounds.append(float(gather(output.term.bound[None]).mean()))
    return {"gradients": gradients, "losses": losses, "bounds": bounds, "state": task.state_dict()}


class LearnedScale(WeightBinarizer):
    """A scale per filter that real weights do not use, and a method's switch that is late."""

    def __init__(self, latent: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(latent.abs().flatten(1).mean(1))

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return sign_values(weight.detach()), self.scale.detach()

    def forward(self, weight: Tensor) -> Tensor:
        return sign(weight, hard_tanh) * per_filter(self.scale, weight)

    def learning_rates(self) -> dict[str, float]:
        return {"scale": 0.5}


class LateGain(nn.Module):
    """An adapter that joins in halfway."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress, self.gain = progress, nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain if self.progress.value > 0.5 else x


PROGRESS: list[Progress] = []


def _weight(latent: Tensor, progress: Progress) -> LearnedScale:
    PROGRESS[:] = [progress]
    return LearnedScale(latent)


RESTING = replace(
    REACTNET, weight=_weight, output=lambda latent: LateGain(PROGRESS[0]), latent_decay=0.01
)
"""A method with parameters that have no gradient in some steps."""


def train_stages(plan: str, dtype: torch.dtype) -> dict[str, Any]:
    """Four steps per stage, with everything a stage switches and a float teacher."""
    method = f"{__name__}:RESTING"
    teacher = create("resnet8-bireal-poolpad", method="float", classes=4, channels=3, image_size=8)
    net = create("resnet8-bireal-poolpad", method=method, classes=4, channels=3, image_size=8)
    if world()[1] > 1:
        synchronize_batch_norm(net)
    distillation = AttentionMatching(net, teacher.to(dtype))
    task = ClassifyTask(net, None, weight=0.0, distillation=distillation, distill_weight=0.5).to(
        dtype
    )
    wrapped = parallelize(task, torch.device("cpu"), resting=may_rest(net))
    recipe = Recipe(plan=plan, method=method, epochs=6, optimizer="sgd", weight_decay=0.1)
    source = torch.Generator().manual_seed(0)
    gradients, losses = [], []
    for stage in plan_stages(recipe):
        set_precision(
            net,
            binary_weights=stage.binary_weights,
            binary_activations=stage.binary_activations,
        )
        optimizer = make_optimizer(recipe, task, stage.weight_decay)
        for step in range(4):
            set_progress(net, step / 3)
            images = torch.randn(BATCH, 3, 8, 8, generator=source, dtype=torch.float64).to(dtype)
            labels = torch.arange(BATCH) % 4
            optimizer.zero_grad(set_to_none=True)
            output = wrapped(my_share(images), my_share(labels), my_share(labels))
            output.loss.backward()
            before_step(net)
            gradients.append(
                {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}
            )
            begin_momentum(optimizer)
            optimizer.step()
            after_step(net)
            losses.append(float(gather(output.loss.detach()[None]).mean()))
    return {"gradients": gradients, "losses": losses, "state": task.state_dict()}


def normalize_share(shape: tuple[int, ...], momentum: float | None, affine: bool) -> dict[str, Any]:
    """Two training passes of a SyncedBatchNorm over this rank's share, and what they leave."""
    source = torch.Generator().manual_seed(len(shape))
    norm = SyncedBatchNorm(shape[1], momentum=momentum, affine=affine).double()
    whole = torch.randn(2, *shape, generator=source, dtype=torch.float64) * 3 + 50
    upstream = torch.randn(shape, generator=source, dtype=torch.float64)
    for batch in whole:
        x = my_share(batch).clone().requires_grad_()
        norm.zero_grad()
        out = norm(x)
        out.backward(my_share(upstream))
    return {
        "out": out.detach(),
        "gradient": x.grad,
        "parameters": {n: p.grad for n, p in norm.named_parameters()},
        "state": norm.state_dict(),
        "evaluated": norm.eval()(my_share(whole[0])),
    }


def gather_everything() -> dict[str, Any]:
    """Values, an integer gather, and the gradient of losses that weigh the rows differently."""
    rank, _ = world()
    x = (torch.arange(6.0).view(3, 2) + 10 * rank).requires_grad_()
    rows = gather(x)
    ((rank + 1) * rows.square()).sum().backward()
    integers = gather(torch.tensor([rank, rank + 5]))
    batch = Batch.over_ranks(torch.tensor([rank]), None)
    return {
        "rows": rows.detach(),
        "gradient": x.grad,
        "integers": integers,
        "labels": batch.all_labels,
    }


def converted_dtypes() -> dict[str, Any]:
    """A float64 net keeps its numbers when its norms are replaced."""
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(3, affine=False))).double()
    net[0].weight.data.fill_(1 / 3)
    net[0].running_mean.fill_(1 / 7)
    net.eval()
    synchronize_batch_norm(net)
    return {
        "kinds": [type(net[0]).__name__, type(net[1][0]).__name__],
        "training": net[0].training,
        "weight": net[0].weight.detach(),
        "mean": net[0].running_mean,
    }


def everything() -> dict[str, Any]:
    """All results of this rank."""
    return {
        "world": list(world()),
        "cases": {name: train(settings, torch.float64) for name, settings in CASES.items()},
        "stages": {plan: train_stages(plan, torch.float64) for plan in PLANS},
        "norms": [
            normalize_share(shape, momentum, affine)
            for shape in NORM_SHAPES
            for momentum, affine in ((0.1, True), (None, False))
        ],
        "gather": gather_everything(),
        "converted": converted_dtypes(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        torch.save(everything(), Path(sys.argv[1]) / f"rank{os.environ['RANK']}.pt")
