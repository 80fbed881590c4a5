"""`bitlens compare RECIPE... --seeds N [field overrides for all]`, or `--suite NAME --data DATA`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import tyro

from bitlens.cli.compare_suite import OPTION, asks_for_suite, run_suite
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
from bitlens.objectives.config import CMIMConfig
from bitlens.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Train every recipe from the same seeds and compare with the baseline.

    Options of `bitlens train` given here apply to every recipe. Finished runs in the folder are
    kept, interrupted ones resumed. Instead of recipes, --suite NAME --data DATA compares all
    binarization methods on one budget (bitlens list suites; bitlens compare --suite methods --help).
    """

    seeds: int = 5
    """Seeds 0 .. N-1."""
    baseline: str = ""
    """Recipe the others are compared with; by default the first one."""
    jobs: int = 1
    """Runs trained at the same time, sharing the threads; 0 takes one per thread."""
    out: Out = None
    """Folder of the comparison; by default runs/BASELINE-comparison."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)
    information: Annotated[PlaneOptions, tyro.conf.arg(name="")] = field(
        default_factory=PlaneOptions
    )


def run(arguments: Sequence[str]) -> None:
    """Compare recipes, or the methods of a suite."""
    names, rest = split_names(arguments)
    if asks_for_suite(rest):
        run_suite(names, rest)
        return
    options, overrides = parse(Compare, "compare RECIPE...", rest, return_unknown_args=True)
    _check_options(overrides)
    recipes = named("compare", names)
    recipes = [_overridden(r, overrides) for r in recipes]
    if options.seeds < 1:
        raise BitlensError(f"compare: seeds={options.seeds}; at least one seed must run")
    out = options.out or Path("runs") / f"{options.baseline or recipes[0].name}-comparison"
    _compare(recipes, options, out)


def _check_options(overrides: Sequence[str]) -> None:
    """Refuse options that neither `compare` nor a recipe has: the two parsers see only their own."""
    kinds = {
        "": (*fields(Compare), *fields(Machine), *fields(PlaneOptions), *fields(Recipe)),
        "cmim.": fields(CMIMConfig),
    }
    known = {
        f"--{prefix}{flag}{field.name.replace('_', '-')}"
        for prefix, found in kinds.items()
        for field in found
        for flag in (("", "no-") if field.type == "bool" else ("",))
    } | {OPTION}
    for option in (o.partition("=")[0] for o in overrides if o.startswith("--")):
        if option in ("--seed", "--name"):
            raise BitlensError(f"compare: {option} cannot be shared by all runs; use --seeds N")
        if option.replace("_", "-") not in known:
            raise unknown("option", option, known)


def _overridden(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    return parse(Recipe, "compare RECIPE...", overrides, default=recipe)


def _compare(recipes: list[Recipe], options: Compare, out: Path) -> None:
    import torch

    from bitlens.cli.display import console, lines, live
    from bitlens.recipes import RECIPES
    from bitlens.report.plane import FILE as PLANE_FILE
    from bitlens.report.runs import read_comparison
    from bitlens.report.standings import standings
    from bitlens.report.terminal import comparison_table
    from bitlens.training.compare import compare

    plane = options.information.settings()
    use_threads(options.machine.threads)
    jobs = options.jobs or torch.get_num_threads()
    table = compare(
        recipes,
        range(options.seeds),
        out,
        baseline=options.baseline or recipes[0].name,
        resolve=RECIPES.get,
        device=str(pick_device(options.machine.device)),
        jobs=jobs,
        make_display=live if jobs == 1 else lines,
        plane=plane,
    )
    found = read_comparison(out)
    screen = console()
    screen.print(comparison_table(found))
    for standing in standings(found):
        if standing.sentence:
            screen.print(standing.sentence, soft_wrap=True)
    finished = (file.parent for file in sorted(out.glob("*/seed*/summary.json")))
    if plane and (bare := [run for run in finished if not (run / PLANE_FILE).exists()]):
        screen.print(f"no plane: {', '.join(map(str, bare))} finished before --plane was given")
    screen.print(f"rows {table}   report: bitlens report {out}", soft_wrap=True)
