"""The whole study on nets of a few seconds: what its files hold, and what its pictures show."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from bitlens.cli import main
from bitlens.data import load_scenes
from bitlens.errors import BitlensError
from bitlens.studies.bibench.twins import Trained
from bitlens.studies.dense.comparisons import read_dense
from bitlens.studies.dense.predictions import answers, spaced
from bitlens.studies.dense.study import Outcome, run_study
from bitlens.tasks.constants import evaluate_constants


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def outcome(both: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run_study([both], tmp_path_factory.mktemp("judged") / "out", scenes=2)


def test_a_row_a_run(outcome: Outcome, both: Path) -> None:
    rows = read(outcome.runs)
    assert [row["variant"] for row in rows] == ["float", "plain", "cmim"]
    for row in rows:
        summary = json.loads((both / row["variant"] / "seed0" / "summary.json").read_text())
        for name, value in summary["test_metrics"].items():
            assert float(row[name]) == pytest.approx(value, abs=1e-6)
        assert int(row["bytes_packed"]) == summary["bytes_packed"]
        assert (row["train_images"], row["test_images"]) == ("12", "5")
        assert row["run"] == f"both/{row['variant']}/seed0" and row["cpu"] and row["recipe_digest"]


def test_constants_are_judged_like_the_nets(outcome: Outcome, rooms: str) -> None:
    rows = {(row["variant"], row["metric"]): row for row in read(outcome.summary)}
    constants = evaluate_constants(load_scenes(rooms), {"segment": 3, "depth": 1})
    for name, metrics in constants.items():
        for metric, value in metrics.items():
            assert float(rows[name, metric]["mean"]) == pytest.approx(value, rel=1e-5)
    best = min(constants[name]["rmse"] for name in constants if "rmse" in constants[name])
    row = rows["plain", "rmse"]
    assert float(row["above"]) == pytest.approx(best - float(row["mean"]), abs=1e-4)


def test_the_page_stands_alone(outcome: Outcome) -> None:
    page = outcome.page.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "<script" not in page
    assert page.count("data:image/png;base64,") == 2 and 'src="http' not in page
    assert "judged on 5 test scenes at 24x32" in page and "most frequent class" in page
    assert "1 epoch of 12 scenes" in page
    ElementTree.fromstring((outcome.page.parent / "figures" / "headlines.svg").read_text())


def test_sheets_of_both_heads(outcome: Outcome) -> None:
    assert [path.name for path in outcome.sheets] == [
        "segment-depth_classes.png",
        "segment-depth_depth.png",
    ]
    for path in outcome.sheets:
        with Image.open(path) as sheet:
            assert sheet.width == 6 * 256 + 5 * 8 + 2 * 16


def test_the_metrics_of_all_scenes_are_those_of_the_run(both: Path, rooms: str) -> None:
    """What the pictures show is what was judged: pixel accuracy over scenes, weighted by known pixels."""
    (comparison,) = read_dense([both])
    trained: Trained = comparison.binary[0].nets[0]
    data = load_scenes(rooms)
    found = answers(trained, data, torch.arange(5), torch.device("cpu"))
    stored = (trained.run.summary or {})["test_metrics"]
    # Every test scene has as many unknown pixels, so the plain mean is the mean over pixels.
    accuracy = np.mean([answer.metrics["pixel_accuracy"] for answer in found])
    assert accuracy == pytest.approx(stored["pixel_accuracy"], abs=1e-6)
    rmse = np.sqrt(np.mean([answer.metrics["rmse"] ** 2 for answer in found]))
    assert rmse == pytest.approx(stored["rmse"], rel=1e-5)
    for answer in found:
        assert answer.maps.classes is not None and answer.maps.classes.shape == (24, 32)
        assert answer.maps.metres is not None and answer.maps.metres.min() >= 0.1


@pytest.mark.parametrize(
    ("total", "wanted", "places"),
    [(10, 1, [5]), (10, 2, [2, 7]), (9, 3, [1, 4, 7]), (3, 8, [0, 1, 2])],
)
def test_scenes_are_evenly_spaced(total: int, wanted: int, places: list[int]) -> None:
    assert spaced(total, wanted).tolist() == places


def test_the_command_tells_what_came_out(
    both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    arguments = f"study dense {both} --scenes 1 --threads 1 --device cpu --out d"
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert main(arguments.split()) == 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    told = capsys.readouterr().out
    assert "mIoU, %" in told and "δ < 1.25, %" in told and "one seed" in told
    assert "cmim against plain: one seed only" in told and "d/index.html" in told
    assert read(tmp_path / "d" / "summary.csv")


def test_no_scene_is_too_few(both: Path, tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match="scenes=0; show at least 1"):
        run_study([both], tmp_path / "out", scenes=0)
    assert not (tmp_path / "out").exists()
