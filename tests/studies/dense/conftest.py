"""A folder of tiny rooms, and comparisons that were trained on it in a few seconds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitlens.objectives.config import CMIMConfig
from bitlens.training.compare import compare
from bitlens.training.recipe import Recipe

NAMES = ("floor", "wall", "lamp")
HEIGHT, WIDTH = 24, 32


def write_rooms(folder: Path, counts: dict[str, int]) -> None:
    """A wall over a floor, lamps on both; the mask is void in one corner, the depth unknown in another."""
    draw = np.random.default_rng(0)
    rows = np.indices((HEIGHT, WIDTH))[0]
    for split, count in counts.items():
        for kind in ("images", "masks", "depths"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            edge = draw.integers(8, 16)
            mask = np.where(rows < edge, 1, 0).astype(np.uint8)
            at = draw.integers(4, 20, 2)
            mask[at[0] : at[0] + 5, at[1] : at[1] + 6] = 2
            depth = (4000 - 100 * np.maximum(rows - edge, 0) - 500 * (mask == 2)).astype(np.uint16)
            image = np.array([[90, 60, 30], [180, 180, 200], [250, 220, 40]])[mask]
            image = (image + draw.integers(-20, 20, image.shape)).clip(0, 255).astype(np.uint8)
            mask[:4, :4], depth[-4:, -4:] = 255, 0
            for kind, pixels in (("images", image), ("masks", mask), ("depths", depth)):
                Image.fromarray(pixels).save(folder / split / kind / f"{number}.png")
    (folder / "classes.txt").write_text("\n".join(NAMES) + "\n")


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a recipe's `data` takes: 12 scenes to learn from, 5 to be judged on."""
    folder = tmp_path_factory.mktemp("rooms")
    write_rooms(folder, {"train": 12, "test": 5})
    return f"scenes:{folder}"


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
