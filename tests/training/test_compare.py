"""Paired comparisons: who runs with whom, what is kept, and what the table says."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.training import compare as compare_module
from bitlens.training.compare import compare
from bitlens.training.comparison_table import COLUMNS
from bitlens.training.fit import Display, Silent, fit
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder

TIMES = ("seconds", "step_ms")


def nobody(name: str) -> Recipe | None:
    return None


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def modified(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.stat().st_mtime_ns
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith("comparison")
    }


@pytest.fixture
def variants(quick: Callable[..., Recipe]) -> list[Recipe]:
    return [
        quick(name="plain", epochs=1),
        quick(name="cmim", epochs=1, objective="cmim", weight=0.1, validation=0.0),
        quick(name="twin", epochs=1, method="float"),
    ]


def test_every_variant_from_every_seed(variants: list[Recipe], tmp_path: Path) -> None:
    begun: list[tuple[str, int, int, int]] = []

    def watch(recipe: Recipe, number: int, total: int) -> Display:
        begun.append((recipe.name, recipe.seed, number, total))
        return Silent()

    path = compare(
        variants, [0, 1], tmp_path / "c", baseline="plain", resolve=nobody, make_display=watch
    )
    assert path == tmp_path / "c" / "comparison.csv"
    names = ["plain", "cmim", "twin"]
    expected = [(name, seed) for seed in (0, 1) for name in names]
    assert begun == [(n, s, k, 6) for k, (n, s) in enumerate(expected, start=1)], "seeds outermost"

    rows = table(tmp_path / "c")
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["variant"], int(row["seed"])) for row in rows] == [
        (name, seed) for name in names for seed in (0, 1)
    ]
    for row in rows:
        run = RunFolder(tmp_path / "c" / row["run"])
        recipe, summary = run.recipe(), json.loads(run.summary_file.read_text())
        assert (recipe.name, recipe.seed) == (row["variant"], int(row["seed"]))
        assert row["recipe_digest"] == recipe.digest == summary["digest"]
        assert float(row["test_accuracy"]) == pytest.approx(summary["test_accuracy"], abs=1e-6)
        assert row["validation_accuracy"] == ""
        assert (row["bound"] == "") is (summary["bound"] is None)
        assert (row["method"], row["objective"]) == (recipe.method, recipe.objective)
        assert (row["train_images"], row["eval_split"]) == ("240", "test")
        assert row["torch"] == torch.__version__
    assert json.loads((tmp_path / "c" / "comparison.json").read_text()) == {
        "schema": 1,
        "baseline": "plain",
        "variants": names,
        "runs": {name: [f"{name}/seed0", f"{name}/seed1"] for name in names},
    }


def test_finished_runs_stay_and_more_seeds_join(variants: list[Recipe], tmp_path: Path) -> None:
    pair = variants[:2]
    compare(pair, [0], tmp_path, baseline="plain", resolve=nobody)
    before, rows = modified(tmp_path), table(tmp_path)
    compare(pair, [0], tmp_path, baseline="plain", resolve=nobody)
    assert modified(tmp_path) == before and table(tmp_path) == rows
    compare(pair, [0, 1], tmp_path, baseline="plain", resolve=nobody)
    after = modified(tmp_path)
    assert {name: after[name] for name in before} == before
    assert [(r["variant"], r["seed"]) for r in table(tmp_path)] == [
        *(("plain", "0"), ("plain", "1"), ("cmim", "0"), ("cmim", "1"))
    ]
    compare(pair, [1], tmp_path, baseline="plain", resolve=nobody)
    assert len(table(tmp_path)) == 4, "rows of seeds not asked for this time are kept"


def test_an_interrupted_comparison_goes_on(
    variants: list[Recipe], tmp_path: Path, assert_same_run
) -> None:
    pair = [replace(recipe, epochs=2) for recipe in variants[:2]]

    class Stop(Exception):
        pass

    class Once(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            raise Stop

    def stop_second(recipe: Recipe, number: int, total: int) -> Display:
        return Once() if number == 2 else Silent()

    with pytest.raises(Stop):
        compare(
            *(pair, [0, 1], tmp_path / "cut"),
            baseline="plain",
            resolve=nobody,
            make_display=stop_second,
        )
    assert [row["variant"] for row in table(tmp_path / "cut")] == ["plain"]
    planned = json.loads((tmp_path / "cut" / "comparison.json").read_text())["runs"]
    assert planned["cmim"] == ["cmim/seed0", "cmim/seed1"]
    for folder in ("cut", "whole"):
        compare(pair, [0, 1], tmp_path / folder, baseline="plain", resolve=nobody)
    for run in ("plain/seed0", "cmim/seed0", "plain/seed1", "cmim/seed1"):
        assert_same_run(tmp_path / "whole" / run, tmp_path / "cut" / run)


def test_two_jobs_give_the_rows_of_one(
    variants: list[Recipe], tmp_path: Path, assert_same_run
) -> None:
    student = replace(
        variants[0], name="kd", distill="logit-kd", distill_weight=1.0, teacher="twin", seed=9
    )
    chosen = [variants[0], student]
    for jobs in (1, 2):
        compare(
            *(chosen, [0], tmp_path / str(jobs)),
            baseline="plain",
            resolve={"twin": variants[2]}.get,
            jobs=jobs,
        )
    one, two = (
        [{k: v for k, v in row.items() if k not in TIMES} for row in table(tmp_path / str(jobs))]
        for jobs in (1, 2)
    )
    assert one == two
    assert_same_run(tmp_path / "1" / "kd" / "seed0", tmp_path / "2" / "kd" / "seed0")


def test_a_teacher_is_trained_once_per_seed_on_the_students_images(
    quick: Callable[..., Recipe], tmp_path: Path
) -> None:
    twin = quick(name="twin", method="float", epochs=1, seed=7)
    students = [
        quick(
            name=name,
            epochs=1,
            distill=name,
            distill_weight=1.0,
            teacher="twin",
            train_images=200,
            validation=0.2,
        )
        for name in ("logit-kd", "distribution")
    ]
    begun: list[tuple[str, int]] = []

    def watch(recipe: Recipe, number: int, total: int) -> Display:
        begun.append((recipe.name, recipe.seed))
        assert total == 6
        return Silent()

    compare(
        *(students, [0, 1], tmp_path),
        baseline="logit-kd",
        resolve={"twin": twin}.get,
        make_display=watch,
    )
    assert begun == [(n, s) for s in (0, 1) for n in ("twin", "logit-kd", "distribution")]
    for seed in (0, 1):
        made = RunFolder(tmp_path / "twin" / f"seed{seed}").recipe()
        assert made == replace(twin, seed=seed, train_images=200, validation=0.2)
    assert {row["variant"] for row in table(tmp_path)} == {"logit-kd", "distribution"}
    assert {row["eval_split"] for row in table(tmp_path)} == {"validation"}
    assert all(0 <= float(row["validation_accuracy"]) <= 1 for row in table(tmp_path))


def test_a_teacher_among_the_variants_is_not_trained_twice(
    variants: list[Recipe], tmp_path: Path
) -> None:
    student = replace(
        variants[0], name="kd", distill="logit-kd", distill_weight=1.0, teacher="twin"
    )
    compare([student, variants[2]], [0], tmp_path, baseline="twin", resolve=nobody)
    assert RunFolder(tmp_path / "twin" / "seed0").recipe() == variants[2]
    assert len(table(tmp_path)) == 2


def test_a_teacher_by_its_folder(variants: list[Recipe], tmp_path: Path) -> None:
    fit(variants[2], tmp_path / "elsewhere")
    student = replace(
        variants[0], distill="logit-kd", distill_weight=1.0, teacher=str(tmp_path / "elsewhere")
    )
    compare([student], [0], tmp_path / "c", baseline="plain", resolve=nobody)
    assert len(table(tmp_path / "c")) == 1


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any) -> None:
        raise AssertionError("nothing is trained before everything is checked")

    monkeypatch.setattr(compare_module, "_train", train)


@pytest.mark.usefixtures("never")
class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"recipes": []}, "no variants; give at least one"),
            ({"seeds": []}, "no seeds; give at least one"),
            ({"seeds": [0, 1, 0]}, "seeds must differ, 0 is given twice"),
            ({"baseline": "plan"}, "baseline 'plan' is not among the variants plain, cmim, twin"),
            ({"jobs": 0}, "jobs=0; at least one process"),
        ],
    )
    def test_arguments(
        self, variants: list[Recipe], tmp_path: Path, change: dict, said: str
    ) -> None:
        given = {"recipes": variants, "seeds": [0], "folder": tmp_path, "baseline": "plain"}
        with pytest.raises(BitlensError, match=said):
            compare(**(given | change), resolve=nobody)

    def test_duplicate_names(self, variants: list[Recipe], tmp_path: Path) -> None:
        with pytest.raises(BitlensError, match="variants must differ, plain is given twice"):
            compare(
                [variants[0], replace(variants[1], name="plain")],
                *([0], tmp_path),
                baseline="plain",
                resolve=nobody,
            )

    def test_a_teacher_nobody_knows(self, variants: list[Recipe], tmp_path: Path) -> None:
        student = replace(variants[0], distill="logit-kd", distill_weight=1.0, teacher="demo-flaot")
        with pytest.raises(BitlensError, match="'demo-flaot' is neither a recipe nor the folder"):
            compare([student], [0], tmp_path, baseline="plain", resolve=nobody)

    def test_a_teacher_that_needs_a_teacher(self, variants: list[Recipe], tmp_path: Path) -> None:
        student = replace(variants[0], distill="logit-kd", distill_weight=1.0, teacher="kd")
        other = replace(student, name="kd", teacher="twin")
        with pytest.raises(BitlensError, match="plain's teacher kd learns from a teacher itself"):
            compare([student, other, variants[2]], [0], tmp_path, baseline="kd", resolve=nobody)

    def test_one_teacher_for_different_images(self, variants: list[Recipe], tmp_path: Path) -> None:
        """Trained on the held-out images, a teacher would leak them to the student."""
        student = replace(
            *(variants[0],), name="kd", distill="logit-kd", distill_weight=1.0, teacher="twin"
        )
        held = replace(student, name="held", validation=0.2)
        for chosen in ([student, held], [held, variants[2]]):
            with pytest.raises(BitlensError, match=r"validation: 0\.[02] -> 0\.[02].*two folders"):
                compare(
                    *(chosen, [0], tmp_path),
                    baseline=chosen[0].name,
                    resolve={"twin": variants[2]}.get,
                )

    @pytest.mark.parametrize("seed", [0, 5])
    def test_a_folder_with_another_recipe(
        self, variants: list[Recipe], tmp_path: Path, seed: int
    ) -> None:
        """Also where the old run's seed is not asked for: its row would be in the table."""
        run = RunFolder(tmp_path / "cmim" / f"seed{seed}")
        with run.locked():
            run.create(replace(variants[1], seed=seed, epochs=9))
        (tmp_path / "plain" / "seedling").mkdir(parents=True)
        (tmp_path / "plain" / "seedling" / "recipe.json").write_text("{}")
        with pytest.raises(BitlensError, match=rf"cmim/seed{seed} holds .*epochs: 9 -> 1"):
            compare(variants, [0, 1], tmp_path, baseline="plain", resolve=nobody)
        assert not (tmp_path / "comparison.csv").exists()
