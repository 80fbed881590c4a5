"""Runs and costs of several comparison folders as one table's rows.

Methods may have been trained in different folders, so the float net, and any method, may be there more
than once. Copies of one run must agree in everything but time and machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bitlens.data import DATASETS
from bitlens.errors import BitlensError
from bitlens.methods import METHODS
from bitlens.models import FLOAT
from bitlens.studies.method_table.cost_rows import FILE, Row, read_costs
from bitlens.studies.method_table.rows import objective_of
from bitlens.training.comparison_table import run_row
from bitlens.training.recipe import Recipe, differences
from bitlens.training.run import RunFolder

OUTCOMES = (
    "train_images", "eval_split", "test_accuracy", "test_accuracy_running", "validation_accuracy",
    "bound", "ceiling", "code_entropy", "flip_rate",
)  # fmt: skip
"""Columns in which two copies of one run must agree."""

MEASURED_WITH = ("cpu", "torch", "threads")
"""Columns in which all costs of a data set must agree."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """Rows as in comparison.csv and costs.csv, ordered by data set, method, objective and seed."""

    runs: tuple[Row, ...]
    costs: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A run, where it lies, and its row."""

    path: Path
    recipe: Recipe
    row: Row


def merge(folders: Sequence[Path]) -> Merged:
    """Read every finished run and every measured cost in `folders`.

    Args:
        folders: comparison folders, or folders with comparisons somewhere below.

    Raises:
        BitlensError: no comparison in a folder, no finished run, copies of one run that disagree, runs of
            different budgets or devices on one data set, an objective other than none and cmim, a cost of a
            recipe that no run has, or costs of one data set that were not measured alike.
    """
    held: dict[tuple[str, str, str, int], _Held] = {}
    costs: dict[tuple[str, str], Row] = {}
    for folder in comparisons(folders):
        for found in _runs(folder):
            key = _key(found)
            _check_copy(held.setdefault(key, found), found)
        for method, row in read_costs(folder).items():
            key = (row["data"], method)
            # Times of two measurements differ; the later one counts.
            if key not in costs or costs[key]["started"] < row["started"]:
                costs[key] = row
    if not held:
        raise BitlensError(f"no finished run in {', '.join(map(str, folders))}")
    _check_budgets(held.values())
    _check_costs(costs.values(), held.values())
    ordered = sorted(held, key=lambda key: (*_place(*key[:2]), *key[2:]))
    return Merged(
        runs=tuple(held[key].row for key in ordered),
        costs=tuple(costs[key] for key in sorted(costs, key=lambda key: _place(*key))),
    )


def comparisons(folders: Sequence[Path]) -> Iterator[Path]:
    """Comparison folders among `folders` and below them.

    Raises:
        BitlensError: there is none in one of `folders`.
    """
    for folder in folders:
        found = sorted(file.parent for file in Path(folder).rglob("comparison.json"))
        if not found:
            raise BitlensError(f"{folder}: no comparison in it (comparison.json is missing)")
        yield from found


def _runs(folder: Path) -> Iterator[_Held]:
    for file in sorted(folder.glob("*/seed*/summary.json")):
        path = file.parent
        row = run_row(folder, path.parent.name, path)
        text = {column: "" if value is None else str(value) for column, value in row.items()}
        yield _Held(path=path, recipe=RunFolder(path).recipe(), row=text)


def _key(found: _Held) -> tuple[str, str, str, int]:
    recipe = found.recipe
    kind = "a plain" if objective_of(found.row) == "plain" else "b cmim"
    return recipe.data, recipe.method, kind, recipe.seed


def _place(data: str, method: str) -> tuple[int, str, int, str]:
    """Data sets and methods in the order in which they are listed everywhere, others behind."""
    sets, methods = list(DATASETS), [FLOAT, *METHODS]
    return (
        sets.index(data) if data in sets else len(sets),
        data,
        methods.index(method) if method in methods else len(methods),
        method,
    )


def _check_copy(first: _Held, second: _Held) -> None:
    _check_same(first, second, second.recipe)
    for column in OUTCOMES:
        a, b = first.row[column], second.row[column]
        if a != b:
            raise BitlensError(
                f"{first.path} and {second.path} are runs of one recipe and disagree: {column} is {a} "
                f"and {b}; leave one of the folders out"
            )


def _check_budgets(held: Iterable[_Held]) -> None:
    """All runs of a data set share all but method and seed, those with CMIM the objective's settings too.

    And the device: on another one the same recipe gives other numbers.
    """
    first: dict[tuple[str, str], _Held] = {}
    one: dict[str, _Held] = {}
    for found in held:
        recipe, kind = found.recipe, objective_of(found.row)
        on_data = one.setdefault(recipe.data, found)
        other = first.setdefault((recipe.data, kind), found)
        _check_same(
            other, found, replace(recipe, method=other.recipe.method, seed=other.recipe.seed)
        )
        if found.row["device"] != on_data.row["device"]:
            raise BitlensError(
                f"{on_data.path} was trained on {on_data.row['device']} and {found.path} on "
                f"{found.row['device']}; a table holds runs of one device, leave the others out"
            )
    for (data, kind), found in first.items():
        plain = first.get((data, "plain"))
        if kind == "cmim" and plain is not None:
            wanted = {
                field: getattr(plain.recipe, field)
                for field in ("method", "seed", "objective", "weight", "cmim")
            }
            _check_same(plain, found, replace(found.recipe, **wanted))


def _check_costs(costs: Iterable[Row], held: Iterable[_Held]) -> None:
    """Costs are of recipes that were trained, and those of one data set of one machine and torch."""
    trained = {found.row["recipe_digest"] for found in held}
    first: dict[str, Row] = {}
    for row in costs:
        method, data = row["method"], row["data"]
        if row["recipe_digest"] not in trained:
            raise BitlensError(
                f"{FILE}: the cost of {method} on {data} was measured for a recipe that no finished run "
                f"has (digest {row['recipe_digest'] or 'missing'}); measure it again"
            )
        other = first.setdefault(data, row)
        if changed := [
            f"{column} {other[column]} and {row[column]}"
            for column in MEASURED_WITH
            if other[column] != row[column]
        ]:
            raise BitlensError(
                f"{FILE}: costs of {other['method']} and {method} on {data} were not measured alike "
                f"({'; '.join(changed)}); remove one row and measure it again here"
            )


def _check_same(first: _Held, second: _Held, alike: Recipe) -> None:
    """Refuse `second` unless `alike`, which is its recipe made like the first, equals the first's."""
    if changed := differences(first.recipe, alike):
        raise BitlensError(
            f"{first.path} and {second.path} have different budgets ({'; '.join(changed)}); a table "
            "holds one"
        )
