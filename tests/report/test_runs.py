"""Reading run folders: what is right comes back unchanged, what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.report.runs import read_comparison, read_rows, read_run
from bitlens.training.recipe import Recipe

Write = Callable[..., Path]


def change(file: Path, **fields: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | fields), encoding="utf-8")


def test_a_run_comes_back_as_it_was_written(run_folder: Write) -> None:
    folder = run_folder(name="demo-cmim", seed=3, accuracy=0.8123, epochs=6)
    run = read_run(folder)
    assert (run.name, run.seed, run.complete, run.epochs_done) == ("demo-cmim", 3, True, 6)
    assert run.test_accuracy == 0.8123
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert run.metrics == [json.loads(line) for line in lines]
    assert run.layers == json.loads((folder / "layers.json").read_text(encoding="utf-8"))
    assert not run.torn


def test_an_unfinished_run_has_no_accuracy(run_folder: Write) -> None:
    run = read_run(run_folder(epochs=6, done=2))
    assert (run.complete, run.epochs_done, run.test_accuracy, run.seconds) == (
        *(False, 2),
        *(None, None),
    )


def test_a_run_killed_before_its_first_epoch(run_folder: Write) -> None:
    folder = run_folder(epochs=6, done=0)
    (folder / "metrics.jsonl").unlink()
    assert read_run(folder).epochs_done == 0


def test_a_torn_last_line_is_forgiven_and_told(run_folder: Write) -> None:
    folder = run_folder(epochs=6, done=3)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"epoch": 4, "train_lo')
    run = read_run(folder)
    assert run.torn
    assert run.epochs_done == 3


def test_a_torn_line_in_the_middle_is_an_error_with_its_line(run_folder: Write) -> None:
    folder = run_folder(epochs=6)
    file = folder / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2][:20]
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(BitlensError, match=r"metrics\.jsonl, line 3"):
        read_run(folder)


def test_a_resumed_run_counts_the_later_row(run_folder: Write) -> None:
    folder = run_folder(epochs=3)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"epoch": 2, "eval_accuracy": 0.125}) + "\n")
    metrics = read_run(folder).metrics
    assert [row["epoch"] for row in metrics] == [1, 2, 3]
    assert metrics[1]["eval_accuracy"] == 0.125


@pytest.mark.parametrize("missing", ["recipe.json", "env.json", "layers.json"])
def test_what_is_missing_is_named(run_folder: Write, missing: str) -> None:
    folder = run_folder()
    (folder / missing).unlink()
    with pytest.raises(BitlensError, match=f"not a run folder: no {missing}"):
        read_run(folder)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match="no such folder"):
        read_run(tmp_path / "nowhere")


def test_a_summary_without_metrics_is_refused(run_folder: Write) -> None:
    folder = run_folder()
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(BitlensError, match=r"no metrics\.jsonl"):
        read_run(folder)


def test_damaged_json_names_file_and_line(run_folder: Write) -> None:
    folder = run_folder()
    (folder / "env.json").write_text('{\n "cpu": "AMD",\n oops\n}', encoding="utf-8")
    with pytest.raises(BitlensError, match=r"env\.json, line 3"):
        read_run(folder)


def test_bytes_that_are_no_text(run_folder: Write) -> None:
    folder = run_folder()
    (folder / "env.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BitlensError, match="not UTF-8"):
        read_run(folder)


@pytest.mark.parametrize("file", ["recipe.json", "summary.json"])
def test_a_newer_schema_asks_for_an_upgrade(run_folder: Write, file: str) -> None:
    folder = run_folder()
    change(folder / file, schema=4)
    with pytest.raises(BitlensError, match="schema 4, this bitlens reads up to 3; upgrade"):
        read_run(folder)


@pytest.mark.parametrize(
    ("file", "fields", "told"),
    [
        ("recipe.json", {"seed": "0"}, "'seed' should be of type int"),
        ("recipe.json", {"seed": True}, "'seed' should be of type int"),
        ("recipe.json", {"name": 7}, "'name' should be of type str"),
        ("summary.json", {"test_accuracy": "0.8"}, "'test_accuracy' should be of type float"),
    ],
)
def test_a_field_of_the_wrong_type(
    run_folder: Write, file: str, fields: dict[str, Any], told: str
) -> None:
    folder = run_folder()
    change(folder / file, **fields)
    with pytest.raises(BitlensError, match=told):
        read_run(folder)


@pytest.mark.parametrize(
    "row",
    [
        '["epoch"]',
        '{"train_loss": 1.0}',
        '{"epoch": 1, "eval_loss": "low"}',
        '{"epoch": 1, "flip_rate_layers": {"a": "b"}}',
        '{"epoch": 1, "bound_valid": "no"}',
    ],
)
def test_a_row_of_metrics_of_the_wrong_shape(run_folder: Write, row: str) -> None:
    folder = run_folder()
    (folder / "metrics.jsonl").write_text(row + "\n", encoding="utf-8")
    with pytest.raises(BitlensError, match="row 1"):
        read_run(folder)


def test_a_layer_without_its_bytes(run_folder: Write) -> None:
    folder = run_folder()
    (folder / "layers.json").write_text('[{"name": "stem", "kind": "conv"}]', encoding="utf-8")
    with pytest.raises(BitlensError, match="layer 1 has no 'bits'"):
        read_run(folder)


def test_a_comparison_with_a_run_that_was_never_started(comparison_folder: Write) -> None:
    folder = comparison_folder(
        {"plain": {0: 0.79, 1: 0.80}, "cmim": {0: 0.8}}, announced={"cmim": ["cmim/seed1"]}
    )
    comparison = read_comparison(folder)
    assert comparison.baseline == "plain"
    assert [run.seed for run in comparison.variants["plain"]] == [0, 1]
    assert comparison.absent == {"plain": (), "cmim": ("cmim/seed1",)}
    assert len(comparison.runs) == 3


def test_a_comparison_with_an_unknown_baseline(comparison_folder: Write) -> None:
    folder = comparison_folder({"plain": {0: 0.79}}, baseline="plian")
    with pytest.raises(BitlensError, match="did you mean plain"):
        read_comparison(folder)


def test_a_comparison_with_a_seed_twice(comparison_folder: Write) -> None:
    folder = comparison_folder({"plain": {0: 0.79}}, announced={"plain": ["plain/seed0"]})
    with pytest.raises(BitlensError, match="two runs of 'plain' have seed 0"):
        read_comparison(folder)


def test_a_run_folder_is_no_comparison(run_folder: Write) -> None:
    with pytest.raises(BitlensError, match=r"no comparison\.json"):
        read_comparison(run_folder())


def test_rows_keep_commits_as_text_and_numbers_as_numbers(tmp_path: Path) -> None:
    file = tmp_path / "comparison.csv"
    file.write_text(
        "variant,seed,commit,test_accuracy,bound\nplain,0,1234567,0.81,\ncmim,1,1e10,1,2.5\n",
        encoding="utf-8",
    )
    assert read_rows(file) == [
        {"variant": "plain", "seed": 0, "commit": "1234567", "test_accuracy": 0.81, "bound": None},
        {"variant": "cmim", "seed": 1, "commit": "1e10", "test_accuracy": 1.0, "bound": 2.5},
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("plain,zero", "row 1: seed should be a number"),
        ("plain", "row 1: the count of cells"),
        ("plain,0,extra", "row 1: the count of cells"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, told: str) -> None:
    file = tmp_path / "comparison.csv"
    file.write_text(f"variant,seed\n{row}\n", encoding="utf-8")
    with pytest.raises(BitlensError, match=told):
        read_rows(file)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"objective": "logit-kd", "weight": 0.5},
        {"objective": "distribution", "weight": 0.0},
        {"objective": "cmim", "weight": 0.5},
    ],
)
def test_schema_1_is_read_as_training_reads_it(run_folder: Write, change: dict) -> None:
    """Seeds of one variant that were trained before and after are one variant."""
    folder = run_folder()
    now = Recipe(teacher="t").to_json()
    since = ("start", "distill", "distill_weight", "task", "dense")
    before = {key: value for key, value in now.items() if key not in since}
    before["cmim"] = {k: v for k, v in now["cmim"].items() if k not in ("pairs", "anchors")}
    before |= {"schema": 1, **change}
    (folder / "recipe.json").write_text(json.dumps(before))
    assert read_run(folder).recipe == Recipe.from_json(before).to_json()
    second = before | {"schema": 2, "start": "", "distill": "none", "distill_weight": 0.0}
    second |= {"objective": "none", "weight": 0.0}
    (folder / "recipe.json").write_text(json.dumps(second))
    assert read_run(folder).recipe == Recipe.from_json(second).to_json()
    (folder / "recipe.json").write_text(json.dumps(Recipe.from_json(before).to_json()))
    assert read_run(folder).recipe == Recipe.from_json(before).to_json()
