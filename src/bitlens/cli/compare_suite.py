"""`bitlens compare --suite NAME --data DATA`: the float net and every method, plain and with CMIM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import tyro

from bitlens.cli.options import Machine, Out, parse, pick_device, use_threads
from bitlens.errors import BitlensError, unknown
from bitlens.methods import METHODS, get
from bitlens.models import FLOAT
from bitlens.recipes import RECIPES, suite
from bitlens.training.recipe import Recipe, differences

OPTION = "--suite"


@dataclass(frozen=True, kw_only=True)
class CompareSuite:
    """Train the float net and every method, plain and with CMIM, on one budget, and measure what each costs.

    Finished runs in the folder are kept, interrupted ones resumed, and other methods may join later: a
    suite can be run over days. The budget is the suite's; to choose your own, name recipes instead.
    """

    suite: str
    """What to run: bitlens list suites."""
    data: str
    """Data set; each has its budget."""
    methods: str = ""
    """Methods, with commas between them, module:ATTRIBUTE for one of your own; by default all."""
    seeds: int = 3
    """Seeds 0 .. N-1."""
    jobs: int = 0
    """Runs trained at the same time, sharing the threads; 0 takes one per thread."""
    out: Out = None
    """Folder of the comparison; by default runs/SUITE-DATA."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)


def asks_for_suite(arguments: Sequence[str]) -> bool:
    """Whether a suite is to be compared, not recipes."""
    return any(a == OPTION or a.startswith(f"{OPTION}=") for a in arguments)


def run_suite(names: Sequence[str], arguments: Sequence[str]) -> None:
    """Train, measure and print.

    Args:
        names: recipes named before the options, of which there must be none.
        arguments: the options.
    """
    if names:
        raise BitlensError(
            f"compare: {', '.join(names)} named beside --suite; a suite brings its own recipes, "
            "leave out one or the other"
        )
    _check_options(arguments)
    options: CompareSuite = parse(CompareSuite, "compare", arguments)
    for name, least in (("seeds", 1), ("jobs", 0)):
        if getattr(options, name) < least:
            raise BitlensError(f"compare: {name}={getattr(options, name)}; give at least {least}")
    methods = _methods(options.methods)
    recipes = suite(options.suite, options.data, methods)
    out = options.out or Path("runs") / f"{options.suite}-{options.data}"
    listed = _listed(out, options, methods)
    _compare(recipes, listed, options, out)


def _check_options(arguments: Sequence[str]) -> None:
    """Refuse what a suite has no option for, and a suite without data, in a sentence each."""
    given = [word.partition("=")[0].replace("_", "-") for word in arguments if word[:2] == "--"]
    known = {_option(f.name) for f in (*fields(CompareSuite), *fields(Machine))} - {"--machine"}
    known.add("--help")
    for option in given:
        if option in {_option(f.name) for f in fields(Recipe)} - known or option[:7] == "--cmim.":
            raise BitlensError(
                f"compare: {option} cannot be given with --suite, whose recipes share one budget; name "
                "recipes instead to choose your own (bitlens list recipes)"
            )
        if option not in known:
            raise unknown("option of compare --suite", option, known)
    if not {"--data", "--help"} & {*given} and "-h" not in arguments:
        raise BitlensError(
            "compare: --suite needs --data too; bitlens list suites shows the data sets with their budgets"
        )


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _methods(given: str) -> list[str]:
    """Names of methods, each once; all of them by default."""
    named = [name.strip() for name in given.split(",") if name.strip()] or list(METHODS)
    if FLOAT in named:
        raise BitlensError(
            f"compare: methods={given}; the float net is trained anyway, leave it out"
        )
    for name in named:
        get(name)
    if twice := [name for name in named if named.count(name) > 1]:
        raise BitlensError(f"compare: methods={given}; {twice[0]} is named twice")
    return named


def _listed(out: Path, options: CompareSuite, methods: Sequence[str]) -> list[str]:
    """Variants of the suite that are asked for or lie in the folder already, in the suite's order.

    Raises:
        BitlensError: the folder holds runs that are not of this suite and data set.
    """
    found = dict.fromkeys(methods)
    for folder in sorted(file.parent for file in out.glob("*/seed*/recipe.json")):
        held = _held(folder)
        if held.method != FLOAT:
            found[held.method] = None
        wanted = {recipe.name: recipe for recipe in suite(options.suite, options.data, [*found])}
        own = wanted.get(folder.parent.name)
        changed = ["its name"] if own is None else differences(own.with_seed(held.seed), held)
        if changed:
            raise BitlensError(
                f"compare: {folder} is no run of suite {options.suite} on {options.data} "
                f"({'; '.join(changed)}); choose another folder"
            )
    known = list(METHODS)
    order = sorted(found, key=lambda m: known.index(m) if m in known else len(known))
    return [recipe.name for recipe in suite(options.suite, options.data, order)]


def _held(folder: Path) -> Recipe:
    from bitlens.training.run import RunFolder

    return RunFolder(folder).recipe()


def _compare(
    recipes: Sequence[Recipe], listed: Sequence[str], options: CompareSuite, out: Path
) -> None:
    import torch

    from bitlens.cli.display import console, counting, lines, live
    from bitlens.studies.method_table.cost_rows import FILE
    from bitlens.studies.method_table.measure import entries, measure
    from bitlens.studies.method_table.merge import merge
    from bitlens.studies.method_table.page import outcome
    from bitlens.studies.method_table.rows import aggregate
    from bitlens.studies.method_table.terminal import method_table
    from bitlens.training.compare import compare

    use_threads(options.machine.threads)
    jobs = options.jobs or torch.get_num_threads()
    table = compare(
        recipes,
        range(options.seeds),
        out,
        baseline=FLOAT,
        resolve=RECIPES.get,
        device=str(pick_device(options.machine.device)),
        jobs=jobs,
        make_display=live if jobs == 1 else lines,
        listed=listed,
    )
    failed = None
    with counting("methods whose step, file and latency are measured") as told:
        try:
            measure(out, entries(recipes), told=told)
        except BitlensError as error:
            failed = error
    merged = merge([out])
    screen = console()
    for found in aggregate(merged.runs, merged.costs).values():
        screen.print(method_table(found))
        screen.print(outcome(found), soft_wrap=True)
    screen.print(
        f"rows {table}   costs {out / FILE}   report: bitlens report {out}", soft_wrap=True
    )
    if failed is not None:
        raise failed
