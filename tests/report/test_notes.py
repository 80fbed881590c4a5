"""The warnings a reader gets, and only where there is a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitlens.report.notes import differing, flat, warnings
from bitlens.report.standings import gather

Write = Callable[..., Path]


def rewrite_row(folder: Path, position: int, **fields: Any) -> None:
    file = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows[position] |= fields
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def test_sound_runs_give_no_warning(comparison_folder: Write) -> None:
    folder = comparison_folder({"plain": {0: 0.7, 1: 0.8}, "cmim": {0: 0.7, 1: 0.8}})
    assert warnings(gather([folder])) == []


def test_unfinished_torn_and_never_started(comparison_folder: Write) -> None:
    folder = comparison_folder(
        {"plain": {0: 0.7}, "cmim": {0: 0.7}},
        announced={"cmim": ["cmim/seed1"]},
        cmim={"done": 3},
    )
    with (folder / "cmim/seed0/metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"epo')
    unfinished, absent = warnings(gather([folder]))
    assert "cmim, seed 0 is unfinished: 3 of 6 epochs" in unfinished
    assert "cut off" in unfinished
    assert absent == "cmim: not started: cmim/seed1."


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"train_loss": float("nan")}, "loss is not finite in epoch 2"),
        ({"bound": 5.0, "ceiling": 4.85}, "above its ceiling in epoch 2"),
        ({"bound_valid": False}, "is not a bound on mutual information"),
    ],
)
def test_a_row_that_needs_care(run_folder: Write, fields: dict[str, Any], told: str) -> None:
    folder = run_folder()
    rewrite_row(folder, 1, **fields)
    (note,) = warnings(gather([folder]))
    assert told in note


def test_a_score_may_pass_the_ceiling(run_folder: Write) -> None:
    folder = run_folder(valid=False)
    rewrite_row(folder, 1, bound=5.0)
    assert not any("ceiling" in note for note in warnings(gather([folder])))


def test_versions_machines_and_mixed_recipes(comparison_folder: Write) -> None:
    folder = comparison_folder({"plain": {0: 0.7, 1: 0.8}})
    env, recipe = folder / "plain/seed1/env.json", folder / "plain/seed1/recipe.json"
    for file, fields in ((env, {"commit": "def", "cpu": "other"}), (recipe, {"lr": 0.1})):
        content = json.loads(file.read_text(encoding="utf-8")) | fields
        file.write_text(json.dumps(content), encoding="utf-8")
    mixed, versions, machines = warnings(gather([folder]))
    assert mixed == "The runs of plain differ in more than the seed: lr."
    assert versions == "The runs come from different versions of commit: abc1234, def."
    assert "different machines" in machines


def test_flat_and_differing() -> None:
    a = {"lr": 0.1, "cmim": {"tau": 1, "n": {"k": 2}}, "seed": 0, "empty": {}}
    b = {"lr": 0.1, "cmim": {"tau": 2, "n": {"k": 2}}, "seed": 1, "extra": None, "empty": {}}
    assert flat(a) == {"lr": 0.1, "cmim.tau": 1, "cmim.n.k": 2, "seed": 0, "empty": {}}
    assert differing([a, b], ignore=("seed",)) == ["cmim.tau", "extra"]
    assert differing([a]) == []
