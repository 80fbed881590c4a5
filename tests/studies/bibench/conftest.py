"""A comparison of three variants from two seeds, trained once in a second or two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.studies.bibench.study import Options
from bitlens.training.compare import compare
from bitlens.training.recipe import Recipe


@pytest.fixture(scope="session")
def make_comparison(tiny_data: str) -> Callable[..., Path]:
    """Train variants, name -> changes to the recipe, into a folder."""

    def make(folder: Path, variants: dict[str, dict[str, Any]], seeds: tuple[int, ...]) -> Path:
        base = Recipe(data=tiny_data, augment="none", model="mlp", epochs=2, batch_size=32, lr=0.01)
        recipes = [replace(base, name=name, **changes) for name, changes in variants.items()]
        compare(recipes, seeds, folder, baseline=recipes[0].name, resolve=lambda name: None)
        return folder

    return make


@pytest.fixture(scope="session")
def table(make_comparison: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Float, bnn and reactnet, seeds 0 and 1."""
    variants = {name: {"method": name} for name in ("float", "bnn", "reactnet")}
    return make_comparison(tmp_path_factory.mktemp("made") / "table", variants, (0, 1))


@pytest.fixture
def quick() -> Options:
    """Few images."""
    return Options(images=40)
