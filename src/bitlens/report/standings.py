"""Where each variant stands against the baseline, and what its numbers were measured on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitlens.errors import BitlensError, unknown
from bitlens.report.quantities import plural
from bitlens.report.runs import (
    Comparison,
    Run,
    read_comparison,
    read_run,
    require_distinct_seeds,
)
from bitlens.report.statistics import (
    PairedDifference,
    Summary,
    paired_difference,
    summarize,
    verdict,
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One variant: accuracy over its finished runs and the paired difference to the baseline.

    `accuracy` is None without a finished run; `difference` and `sentence` are None for the
    baseline itself; `difference` alone is None when no seed can be paired.
    """

    variant: str
    accuracy: Summary | None
    difference: PairedDifference | None
    sentence: str | None
    seconds: Summary | None


def standings(comparison: Comparison) -> list[Standing]:
    """One standing per variant, in the comparison's order."""
    return [_standing(comparison, name) for name in comparison.variants]


def accuracies(runs: Iterable[Run]) -> dict[int, float]:
    """Test accuracy as a fraction by seed, of the runs that have one."""
    return {run.seed: run.test_accuracy for run in runs if run.test_accuracy is not None}


def provenance(*variants: Sequence[Run], split: str | None = "test") -> str:
    """What numbers were measured on: "n = 5 seeds, 6 epochs, fashion-mnist-mini, test split".

    Args:
        variants: the runs of each variant; one without runs is left out.
        split: the split of the data, None where the number needs none.
    """
    runs = [run for variant in variants for run in variant]
    if not runs:
        return "n = 0 runs"
    seeds = _span((len(variant) for variant in variants if variant), "seed")
    epochs = _span((run.recipe["epochs"] for run in runs), "epoch")
    data = ", ".join(sorted({run.recipe["data"] for run in runs}))
    parts = [f"n = {seeds}", epochs, data]
    return ", ".join(parts + ([f"{split} split"] if split else []))


def gather(folders: Sequence[Path], baseline: str | None = None) -> Comparison:
    """Read run and comparison folders into one comparison.

    Runs outside a comparison form variants by recipe name; where one name stands for several
    recipes, or is a variant of a comparison too, the folder's name is added. The baseline is the
    given one, else the first comparison's, else the first variant.

    Raises:
        BitlensError: when there is no folder, one is neither run nor comparison, the baseline is
            unknown, or a variant has the same seed twice.
    """
    if not folders:
        raise BitlensError("no run folder given; name at least one run or comparison folder")
    variants: dict[str, list[Run]] = {}
    absent: dict[str, tuple[str, ...]] = {}
    single, chosen = [], baseline
    for folder in _distinct(folders):
        if (folder / "comparison.json").is_file():
            found = read_comparison(folder)
            chosen = chosen or found.baseline
            for name, runs in found.variants.items():
                variants.setdefault(name, []).extend(runs)
                absent[name] = absent.get(name, ()) + found.absent[name]
        else:
            single.append(read_run(folder))
    for name, runs in _named(single, taken=set(variants)).items():
        variants[name] = runs
    chosen = chosen or next(iter(variants))
    if chosen not in variants:
        raise unknown("baseline", chosen, variants)
    for name, runs in variants.items():
        require_distinct_seeds(name, runs)
    return Comparison(
        baseline=chosen,
        variants={name: tuple(runs) for name, runs in variants.items()},
        absent={name: absent.get(name, ()) for name in variants},
    )


def _standing(comparison: Comparison, name: str) -> Standing:
    runs = comparison.variants[name]
    own = accuracies(runs)
    finished = [run.seconds for run in runs if run.seconds is not None]
    difference, sentence = _against(comparison, name, own)
    return Standing(
        variant=name,
        accuracy=summarize(own.values()) if own else None,
        difference=difference,
        sentence=sentence,
        seconds=summarize(finished) if finished else None,
    )


def _against(
    comparison: Comparison, name: str, own: dict[int, float]
) -> tuple[PairedDifference | None, str | None]:
    if name == comparison.baseline:
        return None, None
    other = accuracies(comparison.variants[comparison.baseline])
    if not own.keys() & other.keys():
        return None, (
            f"{name} cannot be compared with {comparison.baseline}: "
            "no seed has finished in both; nothing can be concluded"
        )
    difference = paired_difference(own, other)
    return difference, verdict(difference, name, comparison.baseline)


def _span(counts: Iterable[int], noun: str) -> str:
    found = sorted(set(counts))
    return plural(found[0], noun) if len(found) == 1 else f"{found[0]} to {found[-1]} {noun}s"


def _distinct(folders: Sequence[Path]) -> list[Path]:
    return list({Path(folder).resolve(): Path(folder) for folder in folders}.values())


def _named(runs: Sequence[Run], taken: set[str]) -> dict[str, list[Run]]:
    recipes: dict[str, list[dict]] = {}
    for run in runs:
        known = recipes.setdefault(run.name, [])
        if _seedless(run) not in known:
            known.append(_seedless(run))
    variants: dict[str, list[Run]] = {}
    for run in runs:
        alone = len(recipes[run.name]) == 1 and run.name not in taken
        variants.setdefault(run.name if alone else f"{run.name} ({run.path.name})", []).append(run)
    return variants


def _seedless(run: Run) -> dict:
    return {key: value for key, value in run.recipe.items() if key != "seed"}
