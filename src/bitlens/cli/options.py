"""Options shared by commands: recipe overrides, threads and device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from bitlens.errors import BitlensError
from bitlens.recipes import RECIPES, recipe
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where to run."""

    threads: int = 0
    """CPU threads; 0 takes one per core."""
    device: str = "auto"
    """Torch device; auto takes a GPU when there is one."""


@dataclass(frozen=True, kw_only=True)
class PlaneOptions:
    """The information plane, I(X;T) and I(T;Y) of every layer while training; changes no weight."""

    plane: bool = False
    """Measure it, into plane.jsonl of the run folder."""
    plane_samples: int = 0
    """Samples it is measured on; 0 takes as many as add about a tenth to the time of a training of several
    epochs, and at least 2,000, which cost a shorter one more."""
    plane_points: int = 70
    """Steps at which it is measured, evenly spaced on a logarithmic axis, step 0 apart."""
    plane_layers: Annotated[str, tyro.conf.arg(metavar="GLOB")] = ""
    """Layers, names or globs with commas between them; by default all signs."""
    plane_split: Literal["train", "test"] = "train"
    """Where the samples come from; training images are not augmented."""

    def settings(self) -> PlaneSettings | None:
        """What the training room takes; None without --plane.

        Raises:
            BitlensError: an impossible value, or options of a plane that is not measured.
        """
        asked = PlaneSettings(
            samples=self.plane_samples,
            points=self.plane_points,
            layers=self.plane_layers,
            split=self.plane_split,
        )
        if self.plane:
            return asked
        if asked != PlaneSettings():
            raise BitlensError(
                "--plane-... options need --plane too; without it nothing is measured"
            )
        return None


def parse(kind: type[T], command: str, arguments: Sequence[str], **more: Any) -> Any:
    """Parse `arguments` into `kind`; wrong ones are explained by the parser, exit code 2."""
    return tyro.cli(kind, args=list(arguments), prog=f"bitlens {command}", **more)


def split_names(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Leading plain words and the rest, from the first option on."""
    count = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    return list(arguments[:count]), list(arguments[count:])


def take_names(
    arguments: Sequence[str], wanted: str, *, least: int = 1, most: int | None = 1
) -> tuple[list[str], list[str]]:
    """`split_names`, with the number of names checked before the options are read.

    Raises:
        BitlensError: `wanted`, the sentence that says what to name, and that names stand before options.
    """
    names, rest = split_names(arguments)
    asks = any(option in ("-h", "--help") for option in rest)
    if not asks and (len(names) < least or (most is not None and len(names) > most)):
        raise BitlensError(f"{wanted}, before the options")
    return names, rest


def named(command: str, names: Sequence[str]) -> list[Recipe]:
    """The recipes called `names`; an error that says how to find them when there is none."""
    if not names:
        raise BitlensError(
            f"{command}: name a recipe before the options (bitlens list recipes), e.g. "
            f"bitlens {command} {next(iter(RECIPES))} --epochs 3"
        )
    return [recipe(name) for name in names]


def use_threads(threads: int) -> None:
    """Set the CPU threads of this process; 0 is one per available core."""
    import torch

    if threads < 0:
        raise BitlensError(f"threads={threads}; give at least 1, or 0 for one per core")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads or available or 1)


def pick_device(wanted: str) -> torch.device:
    """The torch device called `wanted`, checked by putting a number on it."""
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise BitlensError(f"device={wanted!r}; write cpu, cuda, cuda:N or auto") from error
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BitlensError(f"device={wanted!r} cannot be used here: {reason}") from error
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


Out = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")]
