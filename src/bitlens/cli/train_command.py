"""`bitlens train RECIPE [field overrides]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from bitlens.cli.options import Machine, Out, named, parse, pick_device, split_names, use_threads
from bitlens.errors import BitlensError
from bitlens.training.recipe import Recipe


def run(arguments: Sequence[str]) -> None:
    """Train one recipe."""
    names, rest = split_names(arguments)
    if not names and "--help" not in rest and "-h" not in rest:
        named("train", names)
    if len(names) > 1:
        raise BitlensError(
            f"train: one recipe at a time, got {', '.join(names)}; see bitlens compare"
        )
    chosen = named("train", names)[0] if names else Recipe()

    @dataclass(frozen=True, kw_only=True)
    class Train:
        """Train one recipe into a run folder."""

        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = chosen
        machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)
        out: Out = None
        """Run folder; by default runs/NAME-seedN."""
        resume: bool = False
        """Continue an interrupted run in its folder, bit for bit."""

    given: Train = parse(Train, "train RECIPE", rest)
    out = given.out or Path("runs") / f"{given.recipe.name}-seed{given.recipe.seed}"
    _train(given.recipe, out, given.resume, given.machine)


def _train(recipe: Recipe, out: Path, resume: bool, machine: Machine) -> None:
    from bitlens.cli.display import TerminalDisplay
    from bitlens.recipes import RECIPES
    from bitlens.report.quantities import ratio, size
    from bitlens.report.runs import read_run
    from bitlens.report.terminal import layer_table
    from bitlens.training.fit import fit

    use_threads(machine.threads)
    device = str(pick_device(machine.device))

    def teacher(student: Recipe) -> Path:
        if student.teacher not in RECIPES:
            return Path(student.teacher)
        shared = {
            k: getattr(student, k) for k in ("data", "image_size", "train_images", "validation")
        }
        wanted = replace(RECIPES[student.teacher].with_seed(student.seed), **shared)
        home = out / "teacher"
        fit(wanted, home, resume=True, device=device, display=TerminalDisplay(wanted.name))
        return home

    done = fit(
        recipe,
        out,
        resume=resume,
        device=device,
        find_teacher=teacher,
        display=TerminalDisplay(recipe.name),
    )
    from bitlens.objectives.gather import world

    if world()[0]:
        return
    from rich.console import Console

    console = Console()
    console.print(layer_table(read_run(out).layers))
    latent, packed = done["bytes_latent"], done["bytes_packed"]
    console.print(
        f"test accuracy {100 * done['test_accuracy']:.2f} % on {done['test_images']} images, "
        f"{done['seconds']:.0f} s; latent weights {size(latent)}, packed {size(packed)} "
        f"({ratio(latent, packed)} smaller)",
        highlight=False,
    )
    console.print(f"run folder {out}   report: bitlens report {out}", highlight=False)
