"""Paired comparisons: the same seeds for every variant, one folder, one CSV, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError
from bitlens.training.build import start_file
from bitlens.training.comparison_table import run_folder, seeds_in, write_tables
from bitlens.training.display import Display, Silent
from bitlens.training.fit import fit
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.recipe import Recipe, differences
from bitlens.training.run import RunFolder
from bitlens.training.workers import finished, workers

Resolve = Callable[[str], Recipe | None]
"""Gives the recipe of a name, or None when there is no such name."""

MakeDisplay = Callable[[Recipe, int, int], Display]
"""Makes the display of one run: its recipe, its number and the number of runs."""


def silent(recipe: Recipe, number: int, total: int) -> Display:
    """A display that shows nothing, for any run."""
    return Silent()


def compare(
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    folder: Path,
    *,
    baseline: str,
    resolve: Resolve,
    device: str = "cpu",
    jobs: int = 1,
    make_display: MakeDisplay = silent,
    plane: PlaneSettings | None = None,
    listed: Sequence[str] = (),
) -> Path:
    """Train every recipe from every seed and write comparison.csv and comparison.json.

    Finished runs are kept, interrupted ones resumed. Seeds are the outer loop, so whatever has
    finished when you stop is paired. Teachers named by a recipe are trained first, once per seed.

    Args:
        recipes: the variants; their names must differ.
        seeds: every variant runs from each of them.
        folder: of the comparison.
        baseline: name of the variant the others are compared with.
        resolve: finds a teacher's recipe by name.
        device: torch device.
        jobs: processes that train different runs at the same time, sharing this process's threads;
            on a CPU two runs of one thread finish sooner than one run of two threads.
        make_display: progress of each run; must be a module-level function when jobs > 1.
        plane: measure the information plane of every run that is not finished yet.
        listed: names in the order of the tables, the recipes' among them; runs that the folder holds of
            the others are in the tables too, and are not trained. By default the recipes' alone.

    Returns:
        The path of comparison.csv.

    Raises:
        BitlensError: no or duplicate variants or seeds, an unknown baseline, a teacher or a start
            that is not there, a folder with runs of other recipes, or whatever a run raises.
    """
    names = [recipe.name for recipe in recipes]
    _check_distinct("variants", names)
    _check_distinct("seeds", seeds)
    if baseline not in names:
        raise BitlensError(
            f"compare: baseline {baseline!r} is not among the variants {', '.join(names)}"
        )
    if jobs < 1:
        raise BitlensError(f"compare: jobs={jobs}; at least one process must do the work")
    shown = list(listed) or names
    if absent := [name for name in names if name not in shown]:
        raise BitlensError(f"compare: {', '.join(absent)} would be trained, but is not listed")
    for start in {recipe.start for recipe in recipes if recipe.start}:
        start_file(start)
    waves = _waves(recipes, seeds, folder, resolve)
    everything = sorted((job for wave in waves for job in wave), key=lambda job: job[0].seed)
    _check_folder(folder, everything)
    if jobs == 1:
        waves = [everything]
    total, number = len(everything), 0
    with workers(jobs) as pool:
        for wave in waves:
            calls = []
            for recipe, path, teacher in wave:
                number += 1
                calls.append((recipe, path, teacher, device, make_display, plane, number, total))
            for _ in finished(pool, _train, calls):
                write_tables(folder, shown, seeds, baseline, trained=names)
    return folder / "comparison.csv"


Job = tuple[Recipe, Path, Path | None]
"""A run to train: its recipe with seed, its folder, and its teacher's folder."""


def _check_distinct(what: str, values: Sequence[Any]) -> None:
    if not values:
        raise BitlensError(f"compare: no {what}; give at least one")
    twice = [value for value in values if list(values).count(value) > 1]
    if twice:
        raise BitlensError(f"compare: {what} must differ, {twice[0]} is given twice")


def _waves(
    recipes: Sequence[Recipe], seeds: Sequence[int], folder: Path, resolve: Resolve
) -> list[list[Job]]:
    """Runs that need no teacher (teachers among them), then those that do; seeds outermost."""
    by_name = {recipe.name: recipe for recipe in recipes}
    first: dict[Path, Job] = {}
    second: list[Job] = []
    for seed in seeds:
        seeded = [recipe.with_seed(seed) for recipe in recipes]
        for recipe in seeded:
            if not recipe.needs_teacher:
                path = run_folder(folder, recipe.name, seed)
                first[path] = (recipe, path, None)
        for recipe in seeded:
            if not recipe.needs_teacher:
                continue
            path = run_folder(folder, recipe.name, seed)
            named = by_name.get(recipe.teacher) or resolve(recipe.teacher)
            if named is None:
                second.append((recipe, path, _teacher_folder(recipe)))
                continue
            teacher = replace(named.with_seed(seed), **_shared(recipe))
            if teacher.needs_teacher:
                raise BitlensError(
                    f"compare: {recipe.name}'s teacher {teacher.name} learns from a teacher itself; "
                    "name a recipe that does not"
                )
            home = run_folder(folder, teacher.name, seed)
            other = first.setdefault(home, (teacher, home, None))[0]
            if changed := differences(other, teacher):
                raise BitlensError(
                    f"compare: {recipe.name} needs teacher {teacher.name} with other data settings "
                    f"than another variant does ({'; '.join(changed)}); compare them in two folders"
                )
            second.append((recipe, path, home))
    return [list(first.values()), second]


def _teacher_folder(student: Recipe) -> Path:
    teacher = RunFolder(Path(student.teacher))
    if not teacher.complete:
        raise BitlensError(
            f"compare: {student.name}'s teacher {student.teacher!r} is neither a recipe nor the "
            "folder of a finished run"
        )
    return teacher.path


def _check_folder(folder: Path, jobs: Sequence[Job]) -> None:
    """Refuse a folder with runs of other recipes before anything is trained.

    Runs of seeds that are not asked for count too: they appear in the table.
    """
    for recipe in {recipe.name: recipe for recipe, _, _ in jobs}.values():
        for seed in seeds_in(folder / recipe.name):
            RunFolder(run_folder(folder, recipe.name, seed)).check_same(recipe.with_seed(seed))


def _train(
    recipe: Recipe,
    path: Path,
    teacher: Path | None,
    device: str,
    make_display: MakeDisplay,
    plane: PlaneSettings | None,
    number: int,
    total: int,
) -> None:
    fit(
        recipe,
        path,
        resume=RunFolder(path).recipe_file.exists(),
        device=device,
        find_teacher=lambda student: teacher or Path(student.teacher),
        display=make_display(recipe, number, total),
        plane=plane,
    )


def _shared(recipe: Recipe) -> dict[str, Any]:
    """A teacher sees the student's images: no more, no fewer, and not the held-out ones."""
    return {
        field: getattr(recipe, field)
        for field in ("data", "image_size", "train_images", "validation")
    }
