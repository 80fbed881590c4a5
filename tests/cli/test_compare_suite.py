"""`bitlens compare --suite`: every method of a suite trained, measured, printed, continued."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.recipes import SUITES
from bitlens.studies.method_table import measure as measuring

MINI = "fashion-mnist-mini"


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring that takes no time and says little."""
    defaults = {**(measuring.measure.__kwdefaults__ or {}), "step_rounds": 2, "rounds": 2}
    monkeypatch.setattr(measuring.measure, "__kwdefaults__", defaults)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_data: str, few_rounds: None) -> str:
    """The tiny data as one of the suite's data sets, and "other" as the same on a larger budget."""
    shared = SUITES["methods"][MINI]
    small = replace(shared, data=tiny_data, augment="none", model="mlp", batch_size=32)
    monkeypatch.setitem(SUITES["methods"], tiny_data, small)
    monkeypatch.setitem(SUITES["methods"], "other", replace(small, epochs=2))
    return tiny_data


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def suite(say, data: str, *methods: str, seeds: int = 1) -> Any:
    given = ("--suite", "methods", "--data", data, "--methods", ",".join(methods))
    more = ("--seeds", str(seeds), "--jobs", "1", "--threads", "1", "--out", "m")
    return say("compare", *given, *more)


def test_two_methods_on_real_images(say, few_rounds: None, monkeypatch, tmp_path: Path) -> None:
    small = replace(SUITES["methods"][MINI], train_images=100, image_size=12, batch_size=20)
    monkeypatch.setitem(SUITES["methods"], MINI, small)
    # All its pictures are decoded for every run; once is enough here.
    monkeypatch.setattr("bitlens.data.cache._WORTH_KEEPING", 0)
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "cache"))
    said = suite(say, MINI, "bireal", "bnn")
    assert said.code == 0, said.err
    runs = rows(tmp_path / "m" / "comparison.csv")
    names = ["float", "bnn", "bnn-cmim", "bireal", "bireal-cmim"]
    assert [row["variant"] for row in runs] == names, "in the order of METHODS"
    for row in runs:
        assert f"{100 * float(row['test_accuracy']):.2f}" in said.out
        assert (row["data"], row["train_images"]) == (MINI, "100")
    costs = rows(tmp_path / "m" / "costs.csv")
    assert {row["method"] for row in costs} == {"bnn", "bireal"}
    for row in costs:
        assert 10_000 < int(row["file_bytes"]) < int(row["float_bytes"]) / 5
        assert f"{int(row['file_bytes']):,}" in said.out
    assert "CMIM adds (95 % CI)" in said.out


def test_a_suite_over_days(say, tiny: str, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    said = suite(say, tiny, "bireal")
    assert said.code == 0, said.err
    assert "[3/3] bireal-cmim seed 0  epoch 1/1" in said.out
    first = rows(folder / "costs.csv")
    assert [row["method"] for row in first] == ["bireal"]

    said = suite(say, tiny, "bnn", seeds=2)
    assert said.code == 0, said.err
    assert "[6/6] bnn-cmim seed 1  epoch 1/1" in said.out
    assert "bireal seed" not in said.out, "what was not asked for is not trained"
    assert "float seed 0" not in said.out, "what is finished is not trained again"
    runs = rows(folder / "comparison.csv")
    assert [(row["variant"], row["seed"]) for row in runs] == [
        *(("float", "0"), ("float", "1"), ("bnn", "0"), ("bnn", "1")),
        *(("bnn-cmim", "0"), ("bnn-cmim", "1"), ("bireal", "0"), ("bireal-cmim", "0")),
    ]
    listed = json.loads((folder / "comparison.json").read_text())
    assert listed["runs"]["bireal"] == ["bireal/seed0"], "no more seeds of it are planned"
    after = rows(folder / "costs.csv")
    assert [row["method"] for row in after] == ["bireal", "bnn"] and after[0] == first[0]
    assert "rows m/comparison.csv   costs m/costs.csv" in said.out

    again = suite(say, tiny, "bnn", "bireal")
    assert again.code == 0 and "epoch 1/1" not in again.out
    assert rows(folder / "costs.csv") == after and rows(folder / "comparison.csv") == runs
    assert say("report", "m").code == 0

    other = suite(say, "other", "bnn")
    assert other.code == 2
    assert "is no run of suite methods on other (epochs: 2 -> 1); choose" in other.err
    assert rows(folder / "comparison.csv") == runs


def test_a_folder_of_other_recipes_is_refused(say, tiny: str, quick_options: list[str]) -> None:
    made = say("compare", "demo-plain", *quick_options, "--seeds", "1", "--out", "m")
    assert made.code == 0, made.err
    said = suite(say, tiny, "bnn")
    assert said.code == 2 and said.out == ""
    assert "compare: m/demo-plain/seed0 is no run of suite methods" in said.err
    assert "(its name); choose another folder" in said.err


def test_ctrl_c_tells_how_to_go_on(say, tiny: str, monkeypatch, tmp_path: Path) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "_measure", stop)
    said = suite(say, tiny, "bnn")
    assert said.code == 130 and "the same command continues" in said.err
    assert len(rows(tmp_path / "m" / "comparison.csv")) == 3


def test_a_method_that_cannot_be_packed_is_told_at_the_end(
    say, tiny: str, monkeypatch, tmp_path: Path
) -> None:
    def refuse(*given: object) -> None:
        raise BitlensError("a sign differs")

    monkeypatch.setattr(measuring, "footprint", refuse)
    said = suite(say, tiny, "bnn")
    assert said.code == 2 and "could not measure the cost of bnn: a sign differs" in said.err
    assert "CMIM adds (95 % CI)" in said.out, "the table of what there is"
    assert not (tmp_path / "m" / "costs.csv").exists()


GOOD = ("--suite", "methods", "--data", MINI)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "metods", "--data", MINI), "unknown suite 'metods'; did you mean methods"),
        (
            ("--suite", "methods", "--data", "cifr10"),
            "unknown data set of the suite 'cifr10'; did you mean cifar10",
        ),
        ((*GOOD, "--methods", "bnn,bnnn"), "unknown method 'bnnn'; did you mean bnn"),
        ((*GOOD, "--methods", "bnn,bnn"), "bnn is named twice"),
        ((*GOOD, "--methods", "float"), "the float net is trained anyway"),
        ((*GOOD, "--methods", "no.such:METHOD"), "cannot import no.such"),
        (("demo-plain", *GOOD), "demo-plain named beside --suite; a suite brings its own recipes"),
        (("--suite", "methods"), "--suite needs --data too; bitlens list suites"),
        (
            (*GOOD, "--epochs", "3"),
            "--epochs cannot be given with --suite, whose recipes share one",
        ),
        ((*GOOD, "--cmim.bits=3"), "--cmim.bits cannot be given with --suite"),
        ((*GOOD, "--batch_size", "3"), "--batch-size cannot be given with --suite"),
        (
            (*GOOD, "--sedes", "3"),
            "unknown option of compare --suite '--sedes'; did you mean --seeds",
        ),
        (("--suit", "methods", "--data", MINI), "unknown option '--suit'; did you mean --suite"),
        ((*GOOD, "--seeds", "0"), "seeds=0; give at least 1"),
        ((*GOOD, "--jobs", "-1"), "jobs=-1; give at least 0"),
    ],
)
def test_bad_input(say, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    said = say("compare", *arguments)
    assert said.code == 2, said
    assert message in said.err and said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize("option", ["--epochs", "--sedes", "--baseline"])
def test_the_budget_is_the_suites(say, tmp_path: Path, option: str) -> None:
    said = say("compare", *GOOD, option, "3")
    assert said.code == 2 and option in said.err and "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_suites_are_listed_with_their_budgets(say) -> None:
    said = say("list", "suites")
    assert said.code == 0 and said.out.startswith("methods  ")
    assert "cifar10 (resnet8-bireal-poolpad, 2 epochs of 12,500 images)" in said.out
