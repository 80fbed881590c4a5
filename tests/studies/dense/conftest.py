"""A folder of tiny rooms, and comparisons that were trained on it in a few seconds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.objectives.config import CMIMConfig
from bitlens.training.compare import compare
from bitlens.training.recipe import Recipe


@pytest.fixture(scope="session")
def make_dense(rooms: str) -> Callable[..., Path]:
    """Train variants of a task, name -> changes to the recipe, into a folder."""

    def make(
        folder: Path,
        task: str,
        variants: dict[str, dict[str, Any]],
        seeds: tuple[int, ...] = (0,),
    ) -> Path:
        base = Recipe(
            task=task, data=rooms, augment="flip", model="dense-resnet18-bireal-half",
            method="reactnet", epochs=1, batch_size=6, lr=3e-3,
        )  # fmt: skip
        recipes = [replace(base, name=name, **changes) for name, changes in variants.items()]
        compare(recipes, seeds, folder, baseline=recipes[0].name, resolve=lambda name: None)
        return folder

    return make


CMIM = {
    "objective": "cmim",
    "weight": 0.03,
    "cmim": CMIMConfig(pairs="region", pool=2, anchors=16, width=8),
}


@pytest.fixture(scope="session")
def both(make_dense: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain, float and CMIM of two heads, seed 0."""
    variants = {"plain": {}, "float": {"method": "float"}, "cmim": CMIM}
    return make_dense(tmp_path_factory.mktemp("made") / "both", "segment-depth", variants)


Measured = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Metrics by variant and seed."""


@pytest.fixture
def fabricate(both: Path) -> Callable[..., Path]:
    """A finished comparison in which every run of `both` is there once a seed, with these metrics.

    `seconds` gives training times by variant; `machines` processors by variant.
    """

    def make(
        folder: Path,
        measured: Measured,
        seconds: Mapping[str, float] | None = None,
        machines: Mapping[str, str] | None = None,
    ) -> Path:
        runs: dict[str, list[str]] = {}
        for variant, by_seed in measured.items():
            runs[variant] = []
            for seed, metrics in by_seed.items():
                run = folder / variant / f"seed{seed}"
                shutil.copytree(both / variant / "seed0", run, copy_function=copy)
                runs[variant].append(f"{variant}/seed{seed}")
                edit(run / "recipe.json", seed=seed)
                stored = json.loads((run / "summary.json").read_text())["test_metrics"]
                edit(
                    run / "summary.json",
                    seed=seed,
                    seconds=(seconds or {}).get(variant, 10.0),
                    test_metrics=stored | dict(metrics),
                )
                edit(run / "env.json", cpu=(machines or {}).get(variant, "one"))
        (folder / "comparison.json").write_text(
            json.dumps(
                {"schema": 1, "baseline": next(iter(runs)), "variants": list(runs), "runs": runs}
            )
        )
        return folder

    return make


def copy(source: str, target: str) -> None:
    """Copy what is edited; weights and checkpoint are one file for all."""
    (shutil.copy2 if source.endswith((".json", ".jsonl")) else os.link)(source, target)


def edit(file: Path, **changes: Any) -> None:
    """Change fields of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
