"""Recipes that train in a tenth of a second, and what two runs must share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bitlens.training.checkpoint import load_checkpoint
from bitlens.training.recipe import Recipe


@pytest.fixture
def quick(tiny_data: str) -> Callable[..., Recipe]:
    """A recipe on the tiny data, with any fields replaced."""

    def make(**changes: Any) -> Recipe:
        base = Recipe(
            name="quick",
            data=tiny_data,
            # The class is a place in the image: mirroring or shifting would change it.
            augment="none",
            model="mlp",
            epochs=2,
            batch_size=32,
            lr=0.01,
        )
        return replace(base, **changes)

    return make


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _timeless(record: dict[str, Any]) -> dict[str, Any]:
    times = ("seconds", "images_per_second", "step_ms")
    return {key: value for key, value in record.items() if key not in times}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.fixture
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    return _rows


@pytest.fixture
def assert_same_run() -> Callable[[Path, Path], None]:
    """Weights, optimizer, streams and metrics of two folders agree in every bit; times may not."""

    def check(a: Path, b: Path) -> None:
        assert _same(load_file(a / "last.safetensors"), load_file(b / "last.safetensors"))
        assert _same(load_checkpoint(a / "state.pt"), load_checkpoint(b / "state.pt"))
        assert [_timeless(row) for row in _rows(a)] == [_timeless(row) for row in _rows(b)]
        summaries = [json.loads((folder / "summary.json").read_text()) for folder in (a, b)]
        assert _timeless(summaries[0]) == _timeless(summaries[1])

    return check
