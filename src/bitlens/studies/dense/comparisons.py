"""Finished comparisons of dense tasks: a float net, the plain binary nets, and what adds CMIM to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitlens.errors import BitlensError
from bitlens.models import FLOAT
from bitlens.report.runs import Comparison, Run, read_comparison
from bitlens.studies.bibench.twins import Trained, check_seeds
from bitlens.studies.dense.metrics import TASK_TITLES
from bitlens.training.recipe import Recipe, differences

SHARED = (
    "data", "image_size", "model", "epochs", "batch_size", "train_images", "validation", "augment",
    "dense",
)  # fmt: skip
"""Fields in which a binary variant and the float one must agree."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The finished runs of one recipe.

    Attributes:
        name: of the variant.
        nets: by seed, at least one.
        plain: the variant to whose recipe this one adds CMIM and nothing else; None for others.
    """

    name: str
    nets: dict[int, Trained]
    plain: str | None = None

    @property
    def recipe(self) -> Recipe:
        """Of its first seed."""
        return self.nets[min(self.nets)].recipe

    @property
    def contrasts(self) -> bool:
        """Whether it was trained with CMIM."""
        return _contrasts(self.recipe)


@dataclass(frozen=True, kw_only=True)
class DenseComparison:
    """One comparison, as far as it has finished.

    Attributes:
        folder: of the comparison.
        real: the float variant.
        binary: the others, in the comparison's order.
        left_out: runs that have not finished, in sentences.
    """

    folder: Path
    real: Variant
    binary: tuple[Variant, ...]
    left_out: tuple[str, ...]

    @property
    def recipe(self) -> Recipe:
        """Of the float variant: task, data and budget are all variants'."""
        return self.real.recipe

    @property
    def task(self) -> str:
        """segment, depth or segment-depth."""
        return self.recipe.task

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All of them, the float one first."""
        return (self.real, *self.binary)

    def plain_of(self, variant: Variant) -> Variant | None:
        """What a variant's cost is compared with: its own plain variant, else the first plain one."""
        plain = [own for own in self.binary if not own.contrasts]
        wanted = [own for own in plain if own.name == variant.plain] or plain
        return next((own for own in wanted if own.name != variant.name), None)


def read_dense(folders: Sequence[Path]) -> tuple[DenseComparison, ...]:
    """Read finished comparisons of dense tasks.

    Raises:
        BitlensError: no folder; one that is no comparison, is of another task, or has no float variant;
            nothing finished to compare; variants of different budgets; or two comparisons of one task.
    """
    if not folders:
        raise BitlensError("study dense: name at least one folder of a finished `bitlens compare`")
    found = tuple(_read(Path(folder)) for folder in folders)
    seen: dict[str, Path] = {}
    for one in found:
        if one.task in seen:
            raise BitlensError(
                f"study dense: {seen[one.task]} and {one.folder} are both of the task {one.task!r}; judge "
                "them in two studies, each with an --out"
            )
        seen[one.task] = one.folder
    return found


def _read(folder: Path) -> DenseComparison:
    comparison = read_comparison(folder)
    _check_task(folder, comparison.runs)
    variants = [
        Variant(name=name, nets=nets)
        for name, runs in comparison.variants.items()
        if (nets := _finished(folder, runs))
    ]
    real = _float_variant(folder, comparison, variants)
    binary = [variant for variant in variants if variant.recipe.method != FLOAT]
    if not binary:
        raise BitlensError(f"{folder}: no binary run has finished; there is nothing to compare")
    for variant in binary:
        _check_budget(variant, real)
    return DenseComparison(
        folder=folder,
        real=real,
        binary=tuple(
            Variant(name=own.name, nets=own.nets, plain=_plain(own, binary)) for own in binary
        ),
        left_out=tuple(_unfinished(folder, comparison)),
    )


def _check_task(folder: Path, runs: Iterable[Run]) -> None:
    tasks = {Trained(folder=folder, run=run).recipe.task: run for run in runs}
    for task, run in tasks.items():
        if task not in TASK_TITLES:
            raise BitlensError(
                f"{run.path}: task={task!r}; study dense reads comparisons of {', '.join(TASK_TITLES)}"
                + ("; for classification there is bitlens study bibench" * (task == "classify"))
            )
    if len(tasks) > 1:
        raise BitlensError(
            f"{folder}: holds runs of the tasks {', '.join(tasks)}; compare each task in a folder of its own"
        )


def _finished(folder: Path, runs: Iterable[Run]) -> dict[int, Trained]:
    nets = {run.seed: Trained(folder=folder, run=run) for run in runs if run.complete}
    check_seeds(list(nets.values()))
    return nets


def _float_variant(folder: Path, comparison: Comparison, variants: Sequence[Variant]) -> Variant:
    real = [variant for variant in variants if variant.recipe.method == FLOAT]
    if len(real) == 1:
        return real[0]
    if real:
        names = ", ".join(variant.name for variant in real)
        raise BitlensError(
            f"{folder}: {len(real)} float variants ({names}); study dense measures binary nets against one"
        )
    if begun := [run for run in comparison.runs if run.recipe["method"] == FLOAT]:
        raise BitlensError(
            f"{begun[0].path}: the float net has not finished; run the same `bitlens compare` again"
        )
    raise BitlensError(
        f"{folder}: study dense measures binary nets against their float twin, and there is no float "
        "variant; add a float recipe to the comparison"
    )


def _check_budget(variant: Variant, real: Variant) -> None:
    for field in SHARED:
        own, other = getattr(variant.recipe, field), getattr(real.recipe, field)
        if own != other:
            raise BitlensError(
                f"{variant.nets[min(variant.nets)].run.path}: {field}={own!r}, but the float twin has "
                f"{other!r}; compare nets of one budget"
            )


def _contrasts(recipe: Recipe) -> bool:
    return recipe.objective == "cmim" and recipe.weight > 0


def _plain(variant: Variant, binary: Sequence[Variant]) -> str | None:
    """The variant that is this one without CMIM."""
    if not variant.contrasts:
        return None
    for other in binary:
        if not other.contrasts:
            changed = differences(other.recipe, variant.recipe.with_seed(other.recipe.seed))
            fields = {change.partition(":")[0] for change in changed}
            if all(
                field in ("objective", "weight") or field.startswith("cmim.") for field in fields
            ):
                return other.name
    return None


def _unfinished(folder: Path, comparison: Comparison) -> list[str]:
    short = []
    for name, runs in comparison.variants.items():
        planned = len(runs) + len(comparison.absent[name])
        if missing := planned - sum(run.complete for run in runs):
            short.append(f"{name} {missing} of {planned}")
    told = f"Runs of {folder.resolve().name} that have not finished: {', '.join(short)}."
    return [told] if short else []
