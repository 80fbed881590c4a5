"""What a reader must know before trusting the numbers: found in the runs, told as sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from bitlens.report.plane_notes import plane_warnings
from bitlens.report.quantities import plural
from bitlens.report.runs import Comparison, Run


def warnings(comparison: Comparison) -> list[str]:
    """Every reason for care: unfinished, diverged, unequal or impossible; often empty."""
    found = [note for name in comparison.variants for note in _variant(comparison, name)]
    found += plane_warnings(comparison)
    return found + list(_unequal_machines(comparison.runs))


def state(run: Run) -> str:
    """Whether a run has finished, and if not, how far it came."""
    if run.complete:
        return "finished"
    cut = ", last line of metrics.jsonl cut off" if run.torn else ""
    return f"unfinished: {run.epochs_done} of {plural(run.recipe['epochs'], 'epoch')}{cut}"


def flat(recipe: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested recipe with dotted keys: {"cmim": {"tau": 1}} -> {"cmim.tau": 1}."""
    fields: dict[str, Any] = {}
    for key, value in recipe.items():
        if isinstance(value, dict) and value:
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[f"{prefix}{key}"] = value
    return fields


def differing(recipes: Sequence[dict[str, Any]], ignore: Sequence[str] = ()) -> list[str]:
    """The dotted keys whose values are not the same in all recipes, in order of appearance."""
    many = [flat(recipe) for recipe in recipes]
    keys = dict.fromkeys(key for one in many for key in one if key not in ignore)
    return [key for key in keys if any(key not in one or one[key] != many[0][key] for one in many)]


def _variant(comparison: Comparison, name: str) -> Iterator[str]:
    runs = comparison.variants[name]
    for run in runs:
        if not run.complete:
            yield f"{name}, seed {run.seed} is {state(run)}; it is in no accuracy or interval."
        diverged = _diverged(run)
        if diverged is not None:
            yield f"{name}, seed {run.seed}: the loss is not finite in epoch {diverged}."
        impossible = _above_ceiling(run)
        if impossible is not None:
            yield (
                f"{name}, seed {run.seed}: the MI bound lies above its ceiling in epoch "
                f"{impossible}, which cannot be; do not trust it."
            )
    if comparison.absent[name]:
        yield f"{name}: not started: {', '.join(comparison.absent[name])}."
    spread = differing([run.recipe for run in runs], ignore=("seed",))
    if spread:
        yield f"The runs of {name} differ in more than the seed: {', '.join(spread)}."
    if any(row.get("bound_valid") is False for run in runs for row in run.metrics):
        yield (
            f"The contrastive score of {name} is not a bound on mutual information: its negatives "
            "leave out the anchor's class, come from a memory bank with stale keys, or are regions of the "
            "anchor's own image."
        )


def _unequal_machines(runs: Sequence[Run]) -> Iterator[str]:
    for key in ("commit", "bitlens", "torch"):
        values = sorted({str(run.env.get(key)) for run in runs})
        if len(values) > 1:
            yield f"The runs come from different versions of {key}: {', '.join(values)}."
    machines = {(str(run.env.get("cpu")), str(run.env.get("device"))) for run in runs}
    if len(machines) > 1:
        yield "The runs come from different machines, so their times cannot be compared."


def _diverged(run: Run) -> int | None:
    for row in run.metrics:
        losses = (row.get("train_loss"), row.get("eval_loss"))
        if any(loss is not None and not math.isfinite(loss) for loss in losses):
            return row["epoch"]
    return None


def _above_ceiling(run: Run) -> int | None:
    for row in run.metrics:
        bound, ceiling = row.get("bound"), row.get("ceiling")
        if bound is None or ceiling is None or not row.get("bound_valid"):
            continue
        if bound > ceiling + 1e-4:
            return row["epoch"]
    return None
