"""Which folders are read, and what is said of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.studies.dense.comparisons import read_dense
from bitlens.training.compare import compare
from bitlens.training.recipe import Recipe

Fabricate = Callable[..., Path]
ONE = {"plain": {0: {}}, "float": {0: {}}, "cmim": {0: {}}}


def refused(folders: list[Path], *told: str) -> None:
    with pytest.raises(BitlensError) as error:
        read_dense(folders)
    for words in told:
        assert words in str(error.value)


def test_roles_follow_from_the_recipes(both: Path) -> None:
    (found,) = read_dense([both])
    assert found.task == "segment-depth" and found.real.name == "float"
    assert [(own.name, own.plain, own.contrasts) for own in found.binary] == [
        ("plain", None, False),
        ("cmim", "plain", True),
    ]
    assert [variant.name for variant in found.variants] == ["float", "plain", "cmim"]
    plain, cmim = found.binary
    assert found.plain_of(cmim) is found.plain_of(found.real)
    assert found.plain_of(cmim).name == "plain" and found.plain_of(plain) is None
    assert found.left_out == ()


def test_another_method_is_not_the_plain_one(fabricate: Fabricate, tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "c", ONE)
    file = folder / "plain" / "seed0" / "recipe.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"method": "bireal"}))
    (found,) = read_dense([folder])
    assert next(own for own in found.binary if own.name == "cmim").plain is None


def test_unfinished_runs_are_named(fabricate: Fabricate, tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "c", {**ONE, "cmim": {0: {}, 1: {}}})
    (folder / "cmim" / "seed1" / "summary.json").unlink()
    content = json.loads((folder / "comparison.json").read_text())
    content["runs"]["plain"].append("plain/seed1")
    (folder / "comparison.json").write_text(json.dumps(content))
    (found,) = read_dense([folder])
    assert found.left_out == ("Runs of c that have not finished: plain 1 of 2, cmim 1 of 2.",)
    assert [list(own.nets) for own in found.binary] == [[0], [0]]


def test_other_folders_are_refused(fabricate: Fabricate, tmp_path: Path) -> None:
    refused([], "name at least one folder")
    refused([tmp_path / "nowhere"], "nowhere is not a comparison")
    alone = fabricate(tmp_path / "alone", {"plain": {0: {}}})
    refused([alone], "there is no float variant; add a float recipe")
    real = fabricate(tmp_path / "real", {"float": {0: {}}})
    refused([real], "no binary run has finished")
    begun = fabricate(tmp_path / "begun", ONE)
    (begun / "float" / "seed0" / "summary.json").unlink()
    refused([begun], "the float net has not finished")


def test_classification_is_sent_elsewhere(tiny_data: str, tmp_path: Path) -> None:
    recipe = Recipe(name="plain", data=tiny_data, augment="none", model="mlp", epochs=1)
    compare([recipe], [0], tmp_path / "c", baseline="plain", resolve=lambda name: None)
    refused([tmp_path / "c"], "task='classify'", "bitlens study bibench")


def test_two_comparisons_of_one_task_are_two_studies(fabricate: Fabricate, tmp_path: Path) -> None:
    folders = [fabricate(tmp_path / name, ONE) for name in ("a", "b")]
    refused(folders, "both of the task 'segment-depth'")


def test_other_budgets_and_mixed_runs_are_refused(fabricate: Fabricate, tmp_path: Path) -> None:
    def changed(name: str, run: str, **fields: object) -> Path:
        folder = fabricate(tmp_path / name, {**ONE, "plain": {0: {}, 1: {}}})
        file = folder / run / "recipe.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))
        return folder

    refused([changed("a", "float/seed0", epochs=3)], "epochs=1, but the float twin has 3")
    refused([changed("b", "plain/seed1", lr=0.5)], "different recipes", "lr: 0.003 -> 0.5")
    refused(
        [changed("c", "plain/seed1", task="segment")], "compare each task in a folder of its own"
    )
    refused([changed("d", "plain/seed0", method="float")], "different recipes")
