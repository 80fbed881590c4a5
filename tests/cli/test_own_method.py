"""A method in a file of one's own, through the whole command line: the file of the examples."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_method.py"
METHOD = ("--method", "own_method:METHOD")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """The folder of the commands, with the file in it."""
    shutil.copy(EXAMPLE, tmp_path)
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("own_method", None)


def test_train_resume_report_pack_and_info(say, quick_options, here: Path) -> None:
    said = say("train", "demo-plain", *METHOD, *quick_options)
    assert said.code == 0, said.err
    run = here / "runs" / "demo-plain-seed0"
    assert json.loads((run / "recipe.json").read_text())["method"] == "own_method:METHOD"
    layers = json.loads((run / "layers.json").read_text())
    assert [row["why"] for row in layers if row["bits"] == 1] == ["binary (own_method:METHOD)"] * 2
    assert "binary (own_method:METHOD)" in said.out

    (run / "summary.json").unlink()
    said = say("train", "--resume", "--out", str(run), "--threads", "1")
    assert said.code == 0 and "resumed after epoch 1" in said.out, said.err
    assert say("report", str(run)).code == 0
    assert "own_method:METHOD" in (run / "report.html").read_text()
    said = say("pack", str(run), "--threads", "1")
    assert said.code == 0 and "equal torch's bit for bit" in said.out, said.err
    said = say("info", str(run))
    assert said.code == 0 and "own_method:METHOD" in said.out


def test_compare_with_workers_of_its_own(say, quick_options, here: Path) -> None:
    options = (*METHOD, *quick_options, "--seeds", "1", "--jobs", "2", "--out", "both")
    said = say("compare", "demo-plain", "demo-cmim", *options)
    assert said.code == 0, said.err
    rows = list(csv.DictReader((here / "both" / "comparison.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["own_method:METHOD"] * 2
    assert (here / "both" / "demo-plain" / "seed0" / "summary.json").exists()


def test_info_of_a_model_and_doctor(say, here: Path) -> None:
    said = say("info", "mlp", *METHOD)
    assert said.code == 0 and "own_method:METHOD" in said.out
    said = say("doctor", "own_method:METHOD")
    assert said.code == 0 and "FAILED" not in said.out


def test_a_run_whose_method_is_elsewhere_says_so(say, quick_options, here: Path) -> None:
    assert say("train", "demo-plain", *METHOD, *quick_options, "--out", "run").code == 0
    (here / "own_method.py").unlink()
    sys.modules.pop("own_method")
    (here / "run" / "summary.json").unlink()
    said = say("train", "--resume", "--out", "run", "--threads", "1")
    assert said.code == 2 and "cannot import own_method" in said.err
    assert "start bitlens in the folder of own_method.py, or put it on PYTHONPATH" in said.err


def test_a_method_that_is_not_there_is_refused_before_any_work(say, quick_options) -> None:
    said = say("train", "demo-plain", "--method", "nowhere:METHOD", *quick_options)
    assert said.code == 2 and "cannot import nowhere" in said.err
    assert not Path("runs").exists()


def test_as_the_installed_program(here: Path) -> None:
    program = "import sys; from bitlens.cli import main; sys.path.remove(''); sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "info", "mlp", *METHOD],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1] / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "own_method:METHOD" in done.stdout
