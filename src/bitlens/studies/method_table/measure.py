"""Measure what every trained method costs, one method at a time, keeping each row as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bitlens.engine.bench.bench import PACKED
from bitlens.engine.bench.timing import Timing, load_average
from bitlens.errors import BitlensError
from bitlens.methods import get
from bitlens.models import FLOAT
from bitlens.studies.method_table.cost_rows import COLUMNS, Row, read_costs, write_costs
from bitlens.studies.method_table.footprint import PEERS, Footprint, footprint
from bitlens.studies.method_table.step_cost import recipe_timings
from bitlens.training.comparison_table import run_folder
from bitlens.training.feed import Feed
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder, environment, read_json

STEP_ROUNDS = 15
ROUNDS = 40
SEED = 0
"""Of the runs whose nets are packed."""

Told = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method's two recipes."""

    plain: Recipe
    cmim: Recipe


def entries(recipes: Sequence[Recipe]) -> dict[str, Entry]:
    """Plain and CMIM recipe of every method that has both among a suite's variants."""
    plain = {r.method: r for r in recipes if r.objective == "none" and r.method != FLOAT}
    cmim = {r.method: r for r in recipes if r.objective == "cmim"}
    return {m: Entry(plain=own, cmim=cmim[m]) for m, own in plain.items() if m in cmim}


def trained_entries(folder: Path) -> dict[str, Entry]:
    """`entries` of the finished runs of seed 0 in a comparison folder; none without its float net."""
    finished = sorted(file.parent for file in folder.glob(f"*/seed{SEED}/summary.json"))
    recipes = [RunFolder(path).recipe() for path in finished]
    has_float = any(recipe.method == FLOAT for recipe in recipes)
    return entries(recipes) if has_float else {}


def measure(
    folder: Path,
    methods: Mapping[str, Entry],
    *,
    step_rounds: int = STEP_ROUNDS,
    rounds: int = ROUNDS,
    told: Told = lambda done, total: None,
) -> dict[str, Row]:
    """Rows of costs.csv for `methods`, those that are missing measured now, on one thread.

    Needs the finished runs of seed 0 of each method and of the float twin in `folder`. A row that was
    measured for another recipe is dropped and measured again.

    Args:
        folder: of the comparison.
        methods: the methods' recipes by name.
        step_rounds: in which the float twin and a method plain and with CMIM take a training step each.
        rounds: in which the packed net and its peers answer.
        told: called with the methods done and their number.

    Returns:
        All rows of the folder's costs.csv, by method.

    Raises:
        BitlensError: a run is missing, or a method cannot be packed; the others are measured first.
    """
    held = read_costs(folder)
    found = {name: row for name, row in held.items() if not _outdated(row, methods.get(name))}
    missing = [method for method in methods if method not in found]
    if not missing:
        return found
    if found != held:
        write_costs(folder, found)
    failed: dict[str, BitlensError] = {}
    with one_thread():
        feed = Feed(methods[missing[0]].plain.with_seed(SEED), torch.device("cpu"))
        for done, method in enumerate(missing):
            told(done, len(missing))
            try:
                row = _measure(folder, method, methods[method], feed, step_rounds, rounds)
            except BitlensError as error:
                failed[method] = error
                continue
            found = {**read_costs(folder), method: row}
            write_costs(folder, found)
        told(len(missing), len(missing))
    if failed:
        reasons = "; ".join(f"{method}: {error}" for method, error in failed.items())
        raise BitlensError(f"{folder}: could not measure the cost of {reasons}")
    return found


def unmeasurable(folder: Path) -> dict[str, str]:
    """Methods with finished runs in a comparison folder that `trained_entries` leaves out, and why."""
    recipes = [RunFolder(file.parent).recipe() for file in folder.glob("*/seed*/summary.json")]
    methods = dict.fromkeys(recipe.method for recipe in recipes if recipe.method != FLOAT)
    first = [recipe for recipe in recipes if recipe.seed == SEED]
    if all(recipe.method != FLOAT for recipe in first):
        return dict.fromkeys(methods, f"the float net's run of seed {SEED} is not finished")
    return {
        method: f"its runs of seed {SEED}, plain and with CMIM, are not both finished"
        for method in methods
        if method not in entries(first)
    }


def _outdated(row: Row, entry: Entry | None) -> bool:
    """Whether a row is of another recipe than the entry's."""
    return entry is not None and row["recipe_digest"] != entry.plain.with_seed(SEED).digest


@contextmanager
def one_thread() -> Generator[None]:
    """One CPU thread for torch, and as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _measure(
    folder: Path, name: str, entry: Entry, feed: Feed, step_rounds: int, rounds: int
) -> Row:
    method = get(name)
    place = environment(torch.device("cpu"), 1)
    load = load_average()
    run = RunFolder(run_folder(folder, entry.plain.name, SEED))
    twin = RunFolder(run_folder(folder, FLOAT, SEED))
    for needed in (run, twin):
        if not needed.complete:
            raise BitlensError(f"{needed.path}: the run is not finished")
    timed: dict[str, Recipe] = {
        "float": replace(entry.plain, method=FLOAT).with_seed(SEED),
        "plain": entry.plain.with_seed(SEED),
        "cmim": entry.cmim.with_seed(SEED),
    }
    steps = recipe_timings(timed, feed, step_rounds)
    packed = None if method.deploy == "runtime" else footprint(run.path, feed, rounds)
    cells: dict[str, Any] = {
        "data": entry.plain.data,
        "model": entry.plain.model,
        "method": name,
        "deploy": method.deploy,
        "why_runtime": method.why_runtime,
        "batch_size": entry.plain.batch_size,
        "image_size": feed.data.image_size,
        "channels": feed.data.channels,
        **_step_cells(steps, step_rounds),
        "float_bytes": read_json(twin.summary_file)["bytes_latent"],
        **({} if packed is None else _footprint_cells(packed, rounds)),
        **{key: place[key] for key in ("threads", "cpu", "torch", "bitlens", "commit", "started")},
        "load": "" if load is None else f"{load:.2f}",
        "run": str(run.path.relative_to(folder)),
        "recipe_digest": run.recipe().digest,
    }
    return {column: str(cells.get(column, "")) for column in COLUMNS}


def _step_cells(steps: Mapping[str, Timing], rounds: int) -> dict[str, Any]:
    return {
        "float_step_ms": f"{steps['float'].milliseconds:.2f}",
        "step_ms": f"{steps['plain'].milliseconds:.2f}",
        **_ratio_cells("step", steps["plain"]),
        "cmim_step_ms": f"{steps['cmim'].milliseconds:.2f}",
        **_ratio_cells("cmim_step", steps["cmim"]),
        "step_rounds": rounds,
    }


def _footprint_cells(found: Footprint, rounds: int) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "file_bytes": found.file_bytes,
        "signs_equal": found.signs,
        "packed_ms": f"{found.timings[PACKED].milliseconds:.4f}",
        "rounds": rounds,
        "kernel": found.kernel,
        "onnxruntime": found.versions.get("onnxruntime", ""),
    }
    for peer in PEERS:
        if peer in found.timings:
            cells[f"{peer}_ms"] = f"{found.timings[peer].milliseconds:.4f}"
            cells |= _ratio_cells(peer, found.timings[peer])
    return cells


def _ratio_cells(name: str, timing: Timing) -> dict[str, str]:
    return {
        f"{name}_ratio": f"{timing.ratio:.3f}",
        f"{name}_low": f"{timing.low:.3f}",
        f"{name}_high": f"{timing.high:.3f}",
    }
