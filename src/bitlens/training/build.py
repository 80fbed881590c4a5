"""From a recipe to trainable things: net, teacher, objective, task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bitlens.data.dense.scenes import SceneData, SceneSet
from bitlens.data.images import ImageData
from bitlens.errors import BitlensError
from bitlens.methods.contract import Progress
from bitlens.models import create
from bitlens.models.dense import create_dense
from bitlens.objectives.attention import AttentionMatching
from bitlens.objectives.cmim import CMIM
from bitlens.objectives.distill import Distribution, LogitKD
from bitlens.objectives.gather import world
from bitlens.tasks.classify import ClassifyTask
from bitlens.tasks.constants import mean_log_depth
from bitlens.tasks.dense import DenseTask
from bitlens.tasks.step import Task
from bitlens.training.distributed import synchronize_batch_norm
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder, load_weights
from bitlens.training.streams import seed_for

FindTeacher = Callable[[Recipe], Path]
"""Gives the folder of the finished run that the recipe's `teacher` names, training it if need be."""


Data = ImageData | SceneData


def build_net(recipe: Recipe, data: Data, device: torch.device) -> nn.Module:
    """The recipe's net for this data set, channels last, initialised from the recipe's seed."""
    seed = seed_for(recipe.seed, "init")
    if isinstance(data, SceneData):
        net = create_dense(
            recipe.model,
            method=recipe.method,
            heads=heads_of(recipe, data),
            channels=data.channels,
            image_size=data.image_size,
            bottleneck=recipe.dense.bottleneck,
            seed=seed,
        )
    else:
        net = create(
            recipe.model,
            method=recipe.method,
            classes=len(data.classes),
            channels=data.channels,
            image_size=data.image_size,
            seed=seed,
        )
    if world()[1] > 1:
        synchronize_batch_norm(net)
    net.to(device)
    return net.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]


def heads_of(recipe: Recipe, data: SceneData) -> dict[str, int]:
    """Channels of each head of a dense recipe's net, in the order in which the net gives them."""
    channels = {"segment": len(data.classes), "depth": 1}
    return {name: count for name, count in channels.items() if name in recipe.task}


@torch.no_grad()
def start_at_mean_depth(net: nn.Module, scenes: SceneSet) -> None:
    """Let an untrained dense net say the mean log-depth of the training scenes everywhere.

    A head of random weights says depths that differ by factors; their exponentials make the first steps'
    loss so large that a net was seen to fall below a metre for good.
    """
    head = net.get_submodule("head.depth")
    assert isinstance(head, nn.Conv2d) and head.bias is not None
    head.weight.zero_()
    head.bias.fill_(mean_log_depth(scenes))


def load_run_net(folder: Path, data: Data, device: torch.device) -> nn.Module:
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
    data: Data,
    images: int,
    device: torch.device,
    find_teacher: FindTeacher,
) -> Task:
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
    losses = {
        "weight": recipe.weight,
        "distillation": distillation,
        "distill_weight": recipe.distill_weight,
        "hard_labels": recipe.hard_labels,
        "label_smoothing": recipe.label_smoothing,
    }
    if isinstance(data, SceneData):
        return DenseTask(
            net,
            objective,
            heads=heads_of(recipe, data),
            config=recipe.dense,
            crop=data.crop,
            **losses,
        ).to(device)
    return ClassifyTask(net, objective, **losses).to(device)


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
