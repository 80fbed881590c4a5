"""`bitlens study`: a whole study from the command line, here with trials of seconds."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitlens.studies.information_plane import study as module
from bitlens.studies.information_plane.tiers import trial

Say = Callable[..., Any]
TRIALS = [trial("rule", (8, 5, 4), kind, 2, epochs=2) for kind in ("dnn-tanh", "bnn-ste")]


def test_a_study_ends_with_verdicts_and_a_page(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trials", lambda tier: TRIALS)
    command = "study information-plane --tier smoke --jobs 1 --threads 1 --out s".split()
    said = say(*command)
    assert said.code == 0, said.err
    assert "4 nets, 2 trials" in said.out and "[2/2]" in said.out
    assert Path("s/index.html").read_text().startswith("<!doctype html>")
    with Path("s/paths.csv").open(newline="") as file:
        kinds = {row["kind"] for row in csv.DictReader(file)}
    assert kinds == {"dnn-tanh", "bnn-ste"}
    with Path("s/verdicts.csv").open(newline="") as file:
        assert {"claim", "verdict", "n"} <= set(next(csv.DictReader(file)))
    again = say(*command)
    assert again.code == 0 and "[2/2]" not in again.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["study"], "study: name one study (information-plane, bibench, dense)"),
        (["study", "information-plan"], "unknown study 'information-plan'; did you mean"),
        (["study", "information-plane", "--jobs", "-1"], "study: jobs=-1"),
        (["study", "information-plane", "runs/demo"], "study: name one study"),
        (["study", "bibench"], "study bibench: name at least one folder"),
        (["study", "bibench", "--images", "8"], "study bibench: name at least one folder"),
        (["study", "bibench", "nowhere"], "nowhere is not a comparison"),
        (["study", "dense"], "study dense: name at least one folder"),
        (["study", "dense", "nowhere"], "nowhere is not a comparison"),
        (["study", "dense", "--scenes", "2", "c"], "study dense: 'c' stands behind the options"),
        (
            ["study", "bibench", "--images", "8", "c"],
            "'c' stands behind the options; name all folders",
        ),
        (
            ["study", "bibench", "a", "--draw=1", "c"],
            "'c' stands behind the options; name all folders",
        ),
    ],
)
def test_bad_input_is_explained(say: Say, arguments: list[str], told: str) -> None:
    said = say(*arguments)
    assert said.code == 2 and told in said.err and not list(Path.cwd().iterdir())


def test_bibench_judges_what_compare_made(say: Say, quick_options: list[str]) -> None:
    names = ("demo-plain", "demo-float")
    made = say("compare", *names, "--seeds", "1", "--jobs", "1", "--out", "c", *quick_options)
    assert made.code == 0, made.err
    command = "study bibench c --images 8 --threads 1 --out b".split()
    said = say(*command)
    assert said.code == 0, said.err
    assert "152 measurements" in said.out and "demo-plain" in said.out
    assert "left out: Architecture" in said.out
    assert Path("b/index.html").read_text().startswith("<!doctype html>")
    with Path("b/scores.csv").open(newline="") as file:
        assert {"OM_task", "OM_corr", "OM_comp"} <= {row["score"] for row in csv.DictReader(file)}
    again = say(*command)
    assert again.code == 0 and "measurements" not in again.out


def test_help_tells_the_tiers(say: Say) -> None:
    said = say("study", "--help")
    assert said.code == 0
    assert "smoke,short,full" in said.out.replace("|", ",").replace(" ", "")
