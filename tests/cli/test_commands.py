"""What each command does and prints when all is well."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from bitlens.cli.list_command import LISTS
from bitlens.data import DATASETS, SCENES
from bitlens.methods import METHODS
from bitlens.models.dense import DENSE_NETS
from bitlens.models.nets import NETS
from bitlens.objectives import DISTILLATIONS, OBJECTIVES
from bitlens.recipes import RECIPES, SUITES
from bitlens.tasks.config import TASKS


def test_train_tells_what_came_out(say, quick_options: list[str], tmp_path: Path) -> None:
    said = say("train", "demo-cmim", *quick_options, "--out", "runs/[mine]", "--cmim.pool", "1")
    assert said.code == 0 and said.err == ""
    summary = json.loads((tmp_path / "runs" / "[mine]" / "summary.json").read_text())
    assert f"test accuracy {100 * summary['test_accuracy']:.2f} % on 80 images" in said.out
    assert "run folder runs/[mine]   report: bitlens report runs/[mine]" in said.out
    assert "demo-cmim  epoch 1/1" in said.out
    assert "binary (bireal)" in said.out and "…" not in said.out, "nothing squeezed in a pipe"
    recipe = json.loads((tmp_path / "runs" / "[mine]" / "recipe.json").read_text())
    assert (recipe["name"], recipe["epochs"], recipe["cmim"]["pool"]) == ("demo-cmim", 1, 1)
    assert recipe["cmim"]["loss"] == RECIPES["demo-cmim"].cmim.loss


def test_the_default_folder_names_recipe_and_seed(say, quick_options, tmp_path: Path) -> None:
    assert say("train", "demo-plain", *quick_options, "--seed", "3").code == 0
    assert (tmp_path / "runs" / "demo-plain-seed3" / "summary.json").exists()


def test_resume_alone_continues_what_is_there(say, quick_options, tmp_path: Path) -> None:
    assert say("train", "demo-float", *quick_options, "--lr", "0.01", "--out", "run").code == 0
    (tmp_path / "run" / "summary.json").unlink()
    said = say("train", "--resume", "--out", "run", "--threads", "1")
    assert said.code == 0, said.err
    assert "resumed after epoch 1" in said.out
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["lr"] == 0.01
    done = say("train", "--resume", "--out", "run", "--threads", "1")
    assert done.code == 0 and "test accuracy" in done.out and "epoch" not in done.out


def test_train_brings_up_its_teacher(say, quick_options, tmp_path: Path) -> None:
    said = say("train", "demo-logit-kd", *quick_options, "--validation", "0.2", "--out", "run")
    assert said.code == 0, said.err
    assert "teacher demo-float  epoch" in said.out
    teacher = json.loads((tmp_path / "run" / "teacher" / "recipe.json").read_text())
    assert (teacher["name"], teacher["validation"]) == ("demo-float", 0.2)


def test_compare_and_report(say, quick_options, tmp_path: Path) -> None:
    names = ("demo-plain", "demo-cmim", "demo-float")
    options = [*quick_options, "--cmim.pool", "1", "--weight", "0"]
    said = say("compare", *names, *options, "--seeds", "2", "--out", "c")
    assert said.code == 0, said.err
    assert "compared with demo-plain" in said.out and "…" not in said.out
    for name in names:
        assert re.search(rf"{name} .* 2 ", said.out)
    assert "rows c/comparison.csv   report: bitlens report c" in said.out
    with (tmp_path / "c" / "comparison.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6

    for arguments, page in (
        (["c"], "c/report.html"),
        (["c", "--out", "page.html"], "page.html"),
        (["c/demo-plain/seed0", "--out", "one.html"], "one.html"),
    ):
        made = say("report", *arguments)
        assert (made.code, made.out) == (0, f"report {page}\n"), made.err
        assert "demo-plain" in (tmp_path / page).read_text()
    assert say("report", "c", "--baseline", "demo-none").code == 2

    table = say("info", "c/demo-plain/seed0")
    assert table.code == 0 and "2 of 4 layers in 1 bit" in table.out


def test_train_measures_the_plane_and_resume_remembers_it(
    say, quick_options: list[str], tmp_path: Path
) -> None:
    chosen = ("--plane", "--plane-samples", "100", "--plane-points", "4", "--plane-split", "test")
    given = ("train", "demo-plain", *quick_options, "--out", "run")
    said = say(*given, *chosen, "--plane-layers", "hidden.*.linear")
    assert said.code == 0, said.err
    assert re.search(
        r"demo-plain  plane step 7  (hidden.1.linear I\(X;T\) [\d.]+ I\(T;Y\) [\d.]+  )?"
        r"prediction I\(T;Y\) [\d.]+ bits  \d/2 saturated",
        said.out,
    )
    header, *rows = map(json.loads, (tmp_path / "run" / "plane.jsonl").read_text().splitlines())
    assert header["layers"] == ["hidden.0.linear", "hidden.1.linear", "prediction"]
    assert (header["probe"]["split"], header["probe"]["samples"]) == ("test", 80)
    assert [row["step"] for row in rows] == [0, 1, 2, 4, 7]
    for name in ("summary.json", "state.pt"):
        (tmp_path / "run" / name).unlink()
    said = say("train", "--resume", "--out", "run", "--threads", "1")
    assert said.code == 0, said.err
    first, *again = map(json.loads, (tmp_path / "run" / "plane.jsonl").read_text().splitlines())
    assert first == header
    assert [row["layers"] for row in again] == [row["layers"] for row in rows]
    said = say("train", "--resume", "--out", "run", "--plane", "--plane-samples", "60")
    assert said.code == 0 and "no plane" not in said.out, "a finished run is left as it is"


def test_a_plane_that_comes_too_late_is_told(say, quick_options: list[str]) -> None:
    assert say("train", "demo-plain", *quick_options, "--out", "c/demo-plain/seed0").code == 0
    late = say("train", "--resume", "--out", "c/demo-plain/seed0", "--plane", "--threads", "1")
    assert "no plane: the run in c/demo-plain/seed0 was finished before" in late.out
    options = (*quick_options, "--plane", "--plane-points", "2")
    said = say("compare", "demo-plain", *options, "--seeds", "2", "--out", "c")
    assert said.code == 0, said.err
    assert "no plane: c/demo-plain/seed0 finished before --plane was given" in said.out
    assert Path("c/demo-plain/seed1/plane.jsonl").exists()


def test_info_of_a_model(say) -> None:
    said = say("info", "resnet20-normal-slicepad", "--method", "irnet")
    assert said.code == 0
    assert "18 of 20 layers in 1 bit" in said.out and "binary (irnet)" in said.out
    assert "0 of 4 layers" in say("info", "mlp", "--method", "float").out
    said = say("info", "dense-resnet18-bireal-half", "--classes", "13", "--image-size", "64")
    assert "22 of 27 layers in 1 bit" in said.out and "head.segment" in said.out


def test_a_narrow_terminal_does_not_cut_numbers_in_a_pipe(
    say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert "…" not in say("info", "resnet8-bireal-poolpad").out


@pytest.mark.parametrize(
    ("what", "names"),
    [
        *(("recipes", RECIPES), ("suites", SUITES), ("methods", METHODS)),
        ("models", NETS | DENSE_NETS),
        *(("scenes", SCENES), ("tasks", TASKS)),
        *(("data", DATASETS), ("objectives", OBJECTIVES), ("distillations", DISTILLATIONS)),
    ],
)
def test_lists_name_everything_once(say, what: str, names: dict) -> None:
    said = say("list", what)
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == list(names)
    assert all(len(line.split()) > 1 for line in said.out.splitlines()), "each with what it is"


def test_there_is_no_other_list(say) -> None:
    assert set(LISTS) == {
        *("recipes", "suites", "methods", "models", "data", "scenes", "tasks"),
        *("objectives", "distillations", "presets"),
    }
    said = say("list", "presets")
    assert "released" in said.out and "partner=teacher" in said.out


def test_doctor_is_content(say) -> None:
    said = say("doctor")
    assert said.code == 0, said.out + said.err
    assert [line.split()[0] for line in said.out.splitlines()] == ["ok"] * 7
    assert "10000 + 2000 images" in said.out


def test_doctor_fails_when_a_check_does(say, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitlens.cli import doctor_command
    from bitlens.errors import BitlensError

    def broken() -> str:
        raise BitlensError("the sign of 0 is 0")

    monkeypatch.setattr(doctor_command, "CHECKS", {"signs": broken, "versions": lambda: "1"})
    said = say("doctor")
    assert said.code == 2
    assert "FAILED  signs        the sign of 0 is 0" in said.out
    assert "ok      versions     1" in said.out
    assert said.err == "bitlens: doctor: signs failed\n"
