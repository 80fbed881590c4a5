"""The nets to be judged: every finished binary run of some comparisons, with its float twin.

A twin is the float run of the same comparison and seed, so a pair shares data, net and machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bitlens.errors import BitlensError
from bitlens.models import FLOAT
from bitlens.report.runs import Comparison, Run, read_comparison
from bitlens.training.recipe import Recipe, differences

SHARED = (
    "data", "image_size", "model", "epochs", "batch_size", "train_images", "validation", "augment",
)  # fmt: skip
"""Fields in which a binary run and its float twin must agree."""

NAMED = ("method", "objective", "weight", "cmim", "plan", "distill", "distill_weight")
"""Fields that a variant's name stands for, wherever it was trained."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One finished run of a comparison."""

    folder: Path
    run: Run

    @cached_property
    def recipe(self) -> Recipe:
        """What it was trained with."""
        return Recipe.from_json(self.run.recipe, source=str(self.run.path / "recipe.json"))

    @cached_property
    def digest(self) -> str:
        """Of its recipe."""
        return self.recipe.digest

    @cached_property
    def weights(self) -> str:
        """Twelve hex digits of its weights file."""
        try:
            content = (self.run.path / "last.safetensors").read_bytes()
        except OSError as error:
            raise BitlensError(f"{self.run.path}: no weights to judge: {error.strerror}") from error
        return hashlib.sha256(content).hexdigest()[:12]

    @property
    def label(self) -> str:
        """Where it lies, from the comparison's own name on."""
        return f"{self.folder.resolve().name}/{self.run.path.relative_to(self.folder)}"


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """Where variants meet on equal terms: a data set, a net, and how its float twin was trained."""

    data: str
    image_size: int
    model: str
    setting: str

    @property
    def task(self) -> tuple[str, int]:
        """The data set, at the size it is used."""
        return self.data, self.image_size


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A binary run and its float twin."""

    cell: Cell
    variant: str
    seed: int
    binary: Trained
    twin: Trained


@dataclass(frozen=True, kw_only=True)
class Entries:
    """All pairs of some comparisons, and what had to be left out, in sentences."""

    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]

    @property
    def nets(self) -> tuple[Trained, ...]:
        """Every run of a pair once, twins first."""
        ordered = [pair.twin for pair in self.pairs] + [pair.binary for pair in self.pairs]
        return tuple({net.run.path: net for net in ordered}.values())


def find_pairs(folders: Sequence[Path]) -> Entries:
    """Read finished comparisons.

    Raises:
        BitlensError: no folder, one that is no comparison or has no float variant, nothing finished to
            compare, one variant and seed twice under the same conditions, a twin of another budget, or
            one name for runs of several recipes.
    """
    if not folders:
        raise BitlensError("bibench: name at least one folder of a finished `bitlens compare`")
    pairs: list[Pair] = []
    left_out: list[str] = []
    for folder in folders:
        found, missing = _pairs(Path(folder), read_comparison(Path(folder)))
        pairs += found
        left_out += missing
    if not pairs:
        raise BitlensError(
            "bibench: no finished binary run has a finished float twin of its seed; "
            + ("; ".join(left_out) or "the comparisons hold float nets alone")
        )
    _check_distinct(pairs)
    _check_names(pairs)
    return Entries(pairs=tuple(pairs), left_out=tuple(left_out))


def _pairs(folder: Path, comparison: Comparison) -> tuple[list[Pair], list[str]]:
    float_name = _float_variant(folder, comparison)
    for runs in comparison.variants.values():
        check_seeds([Trained(folder=folder, run=run) for run in runs])
    twins = {run.seed: run for run in comparison.variants[float_name] if run.complete}
    pairs, short = [], []
    for name, runs in comparison.variants.items():
        if name == float_name:
            continue
        binary = [run for run in runs if run.recipe["method"] != FLOAT]
        paired = [run for run in binary if run.complete and run.seed in twins]
        planned = len(binary) + len(comparison.absent[name])
        if len(paired) < planned:
            short.append(f"{name} {planned - len(paired)} of {planned}")
        pairs += [_pair(folder, name, run, twins[run.seed]) for run in paired]
    told = f"Runs of {folder.resolve().name} that are not finished, or whose float twin is not: "
    return pairs, [told + ", ".join(short) + "."] if short else []


def _pair(folder: Path, name: str, run: Run, twin: Run) -> Pair:
    binary, real = (Trained(folder=folder, run=one) for one in (run, twin))
    for field in SHARED:
        own, other = getattr(binary.recipe, field), getattr(real.recipe, field)
        if own != other:
            raise BitlensError(
                f"{run.path}: {field}={own!r}, but its float twin {twin.path} has {other!r}; "
                "compare them in a folder of their own"
            )
    recipe = real.recipe
    cell = Cell(
        data=recipe.data,
        image_size=recipe.image_size,
        model=recipe.model,
        setting=f"{recipe.optimizer} {recipe.lr:g} {recipe.schedule}",
    )
    return Pair(cell=cell, variant=name, seed=run.seed, binary=binary, twin=real)


def _float_variant(folder: Path, comparison: Comparison) -> str:
    real = [
        name
        for name, runs in comparison.variants.items()
        if runs and all(run.recipe["method"] == FLOAT for run in runs)
    ]
    if FLOAT in real:
        return FLOAT
    if len(real) != 1:
        found = f"{len(real)} ({', '.join(real)}), none called {FLOAT}" if real else "none"
        raise BitlensError(
            f"{folder}: bibench measures binary nets against one float variant, found {found}; "
            "add a float recipe to the comparison"
        )
    return real[0]


def check_seeds(trained: Sequence[Trained]) -> None:
    """Refuse runs of one variant that differ in more than their seed.

    Raises:
        BitlensError: names two of them and the fields.
    """
    for net in trained[1:]:
        alike = net.recipe.with_seed(trained[0].recipe.seed)
        if changed := differences(trained[0].recipe, alike):
            raise BitlensError(
                f"{trained[0].run.path} and {net.run.path} are of one variant and have different recipes "
                f"({'; '.join(changed)}); compare them under two names"
            )


def _check_names(pairs: Iterable[Pair]) -> None:
    """One name stands for one method and objective in all comparisons."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        other = first.setdefault(pair.variant, pair)
        a, b = (one.binary.recipe for one in (other, pair))
        if changed := [field for field in NAMED if getattr(a, field) != getattr(b, field)]:
            raise BitlensError(
                f"bibench: {pair.variant} is the name of {other.binary.run.path} and of "
                f"{pair.binary.run.path}, which differ in {', '.join(changed)}; give them two names"
            )


def _check_distinct(pairs: Iterable[Pair]) -> None:
    seen: dict[tuple[Cell, str, int], Pair] = {}
    for pair in pairs:
        other = seen.setdefault((pair.cell, pair.variant, pair.seed), pair)
        if other is not pair:
            raise BitlensError(
                f"bibench: {pair.variant} seed {pair.seed} on {pair.cell.data} is there twice: "
                f"{other.binary.run.path} and {pair.binary.run.path}; leave one out"
            )
