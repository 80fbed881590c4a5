"""From a recipe to trainable things: net, teacher, objective, task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bitlens.data.images import ImageData
from bitlens.errors import BitlensError
from bitlens.models import create
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
    """Net, objective and losses of a recipe.

    Args:
        recipe: what to build.
        data: decides channels, classes and image size.
        images: number of training images, the rows of a memory bank.
        device: where it will run.
        find_teacher: called when the objective needs a float teacher.
    """
    net = build_net(recipe, data, device)
    teacher = None
    if recipe.needs_teacher and recipe.weight > 0:
        teacher = load_run_net(find_teacher(recipe), data, device)
    objective = _objective(recipe, net, teacher, images)
    return ClassifyTask(
        net,
        objective,
        weight=recipe.weight,
        hard_labels=recipe.hard_labels,
        label_smoothing=recipe.label_smoothing,
    ).to(device)


def _objective(
    recipe: Recipe, net: nn.Module, teacher: nn.Module | None, images: int
) -> nn.Module | None:
    if recipe.objective == "none" or recipe.weight == 0:
        return None
    if recipe.objective == "cmim":
        seed = seed_for(recipe.seed, "objective")
        return CMIM.from_config(net, recipe.cmim, teacher=teacher, dataset_size=images, seed=seed)
    assert teacher is not None
    return (LogitKD if recipe.objective == "logit-kd" else Distribution)(net, teacher)
