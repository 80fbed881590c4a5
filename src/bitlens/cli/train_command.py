"""`bitlens train RECIPE [field overrides]`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from bitlens.cli.options import (
    Machine,
    Out,
    PlaneOptions,
    named,
    parse,
    pick_device,
    split_names,
    use_threads,
)
from bitlens.errors import BitlensError, unknown
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.recipe import Recipe


def run(arguments: Sequence[str]) -> None:
    """Train one recipe."""
    names, rest = split_names(arguments)
    if len(names) > 1:
        raise BitlensError(
            f"train: one recipe at a time, got {', '.join(names)}; see bitlens compare"
        )
    if not names and not {"--help", "-h", "--resume"} & set(rest):
        named("train", names)
    given = _parse(named("train", names)[0] if names else Recipe(), rest)
    if not names:
        if given.out is None:
            raise BitlensError(
                "train: --resume without a recipe needs --out, the folder of the run"
            )
        given = _parse(_recipe_in(given.out), rest)
    out = given.out or Path("runs") / f"{given.recipe.name}-seed{given.recipe.seed}"
    _train(given.recipe, out, given.resume, given.machine, given.information.settings())


def _parse(default: Recipe, arguments: Sequence[str]) -> Any:
    @dataclass(frozen=True, kw_only=True)
    class Train:
        """Train one recipe into a run folder; --resume --out FOLDER alone continues that run."""

        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = default
        machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)
        information: Annotated[PlaneOptions, tyro.conf.arg(name="")] = field(
            default_factory=PlaneOptions
        )
        out: Out = None
        """Run folder; by default runs/NAME-seedN."""
        resume: bool = False
        """Continue an interrupted run in its folder, bit for bit."""

    return parse(Train, "train RECIPE", arguments)


def _recipe_in(folder: Path) -> Recipe:
    from bitlens.training.run import RunFolder

    return RunFolder(folder).recipe()


def _train(
    recipe: Recipe, out: Path, resume: bool, machine: Machine, plane: PlaneSettings | None
) -> None:
    from bitlens.cli.display import TerminalDisplay, console
    from bitlens.report.plane import FILE as PLANE_FILE
    from bitlens.report.quantities import ratio, size
    from bitlens.report.runs import read_run
    from bitlens.report.terminal import layer_table
    from bitlens.training.fit import fit

    use_threads(machine.threads)
    device = str(pick_device(machine.device))
    done = fit(
        recipe,
        out,
        resume=resume,
        device=device,
        find_teacher=lambda student: _teacher(student, out / "teacher", device),
        display=TerminalDisplay(recipe.name),
        plane=plane,
    )
    if int(os.environ.get("RANK", "0")):
        return  # the group is gone by now; torchrun's variable still tells which process this is
    screen = console()
    run = read_run(out)
    screen.print(layer_table(run.layers))
    latent, packed = done["bytes_latent"], done["bytes_packed"]
    screen.print(
        f"test {run.metric} {100 * done['test_accuracy']:.2f} % on {done['test_images']} images, "
        f"{done['seconds']:.0f} s; latent weights {size(latent)}, packed {size(packed)} "
        f"({ratio(latent, packed)} smaller)",
        soft_wrap=True,
    )
    if plane and not (out / PLANE_FILE).exists():
        screen.print(f"no plane: the run in {out} was finished before --plane was given")
    screen.print(f"run folder {out}   report: bitlens report {out}", soft_wrap=True)


def _teacher(student: Recipe, home: Path, device: str) -> Path:
    """The folder of the student's teacher: a run folder, or `home`, where a recipe is trained."""
    from bitlens.cli.display import TerminalDisplay
    from bitlens.recipes import RECIPES
    from bitlens.training.fit import fit

    if student.teacher not in RECIPES:
        if not Path(student.teacher).is_dir():
            raise unknown("teacher (neither a recipe nor a folder)", student.teacher, RECIPES)
        return Path(student.teacher)
    shared = {k: getattr(student, k) for k in ("data", "image_size", "train_images", "validation")}
    wanted = replace(RECIPES[student.teacher].with_seed(student.seed), **shared)
    fit(wanted, home, resume=True, device=device, display=TerminalDisplay(f"teacher {wanted.name}"))
    return home
