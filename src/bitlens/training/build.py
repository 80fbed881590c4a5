"""From a recipe to trainable things: net, teacher, objective, task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bitlens.data.images import ImageData
from bitlens.errors import BitlensError
from bitlens.methods.contract import Progress
from bitlens.models import create
from bitlens.objectives.attention import AttentionMatching
from bitlens.objectives.cmim import CMIM
from bitlens.objectives.distill import Distribution, LogitKD
from bitlens.objectives.gather import world
from bitlens.tasks.classify import ClassifyTask
from bitlens.training.distributed import synchronize_batch_norm
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder, load_weights
from bitlens.training.streams import seed_for

FindTeacher = Callable[[Recipe], Path]
"""Gives the folder of the finished run that the recipe's `teacher` names, training it if need be."""


def build_net(recipe: Recipe, data: ImageData, device: torch.device) -> nn.Module:
    """The recipe's net for this data set, channels last, initialised from the recipe's seed."""
    net = create(
        recipe.model,
        method=recipe.method,
        classes=len(data.classes),
        channels=data.channels,
        image_size=data.image_size,
        seed=seed_for(recipe.seed, "init"),
    )
    if world()[1] > 1:
        synchronize_batch_norm(net)
    net.to(device)
    return net.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]


def load_run_net(folder: Path, data: ImageData, device: torch.device) -> nn.Module:
    """The trained net of a finished run, for data shaped like `data`.

    Raises:
        BitlensError: no finished run there, or its weights do not fit.
    """
    run = RunFolder(folder)
    recipe = run.recipe()
    if not run.complete:
        raise BitlensError(f"{folder}: the run is not finished; resume it first")
    net = build_net(recipe, data, device)
    load_weights(run.last_file, net)
    return net


def build_task(
    recipe: Recipe,
    data: ImageData,
    images: int,
    device: torch.device,
    find_teacher: FindTeacher,
) -> ClassifyTask:
    """Net and losses of a recipe.

    Args:
        recipe: what to build.
        data: decides channels, classes and image size.
        images: number of training images, the rows of a memory bank.
        device: where it will run.
        find_teacher: called when a loss needs a float teacher.
    """
    net = build_net(recipe, data, device)
    objective, distillation = None, None
    contrasts = recipe.objective == "cmim" and recipe.weight > 0
    distills = recipe.distill != "none" and recipe.distill_weight > 0
    with_teacher = contrasts and recipe.cmim.partner == "teacher"
    teacher = None
    if distills or with_teacher:
        teacher = load_run_net(find_teacher(recipe), data, device)
    if contrasts:
        seed = seed_for(recipe.seed, "objective")
        partner = teacher if with_teacher else None
        objective = CMIM.from_config(
            net, recipe.cmim, teacher=partner, dataset_size=images, seed=seed
        )
    if distills:
        assert teacher is not None
        distillation = _DISTILLATIONS[recipe.distill](net, teacher)
    return ClassifyTask(
        net,
        objective,
        weight=recipe.weight,
        distillation=distillation,
        distill_weight=recipe.distill_weight,
        hard_labels=recipe.hard_labels,
        label_smoothing=recipe.label_smoothing,
    ).to(device)


_DISTILLATIONS: dict[str, Callable[[nn.Module, nn.Module], nn.Module]] = {
    "logit-kd": LogitKD,
    "distribution": Distribution,
    "attention": AttentionMatching,
}


def start_file(start: str) -> Path:
    """The weights that a recipe's `start` means: a .safetensors file, or a finished run's last ones.

    Raises:
        BitlensError: no such file, no run in the folder, or an unfinished one.
    """
    path = Path(start)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise BitlensError(f"recipe: start={start!r}: there is no such file")
        return path
    run = RunFolder(path)
    if not run.recipe_file.exists():
        raise BitlensError(
            f"recipe: start={start!r} is neither a .safetensors file nor the folder of a run"
        )
    if not run.complete:
        raise BitlensError(
            f"recipe: start={start!r}: the run is not finished; resume it first, or name its "
            f"{run.last_file.name} to begin with its last epoch"
        )
    return run.last_file


def load_start(start: str, net: nn.Module) -> None:
    """Give `net` the weights that a recipe starts from, all of them.

    Args:
        start: the folder of a finished run, or a .safetensors file.
        net: changed in place. Every tensor of its state must be in the file with its shape, and no
            other; only the training progress, which is no weight, may be absent.

    Raises:
        BitlensError: no such weights (see `start_file`), or they do not fit: names the tensors.
    """
    file = start_file(start)
    try:
        load_weights(file, net, optional=(Progress.BUFFER,))
    except BitlensError as error:
        raise BitlensError(
            f"recipe: start={start!r}: {error}; it takes weights of the same model and method"
        ) from error
