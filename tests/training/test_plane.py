"""A run that measures its plane is the same run, and resumes the plane with itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.data import load
from bitlens.data.normalize import normalize
from bitlens.errors import BitlensError
from bitlens.information.plane import InformationPlane
from bitlens.information.steps import LogSteps
from bitlens.objectives.config import CMIMConfig
from bitlens.report.plane import read_plane
from bitlens.training.build import load_run_net
from bitlens.training.compare import compare
from bitlens.training.fit import Silent, fit
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.run import RunFolder

PLANE = PlaneSettings(points=12)
CMIM = CMIMConfig(source="queue", negatives=100, width=8)


class Stop(Exception):
    """The power cut."""


class Told(Silent):
    """Keeps the rows it is told; may interrupt after a step of an epoch (0: after the epoch)."""

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        self.stop = stop
        self.rows: list[dict[str, Any]] = []

    def plane(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def step(
        self, epoch: int, step: int, loss: float, accuracy: float, bound: float | None
    ) -> None:
        if (epoch, step) == self.stop:
            raise Stop

    def epoch(self, row: dict[str, Any]) -> None:
        if (row["epoch"], 0) == self.stop:
            raise Stop


def lines(folder: Path) -> list[dict[str, Any]]:
    """plane.jsonl without the times."""
    records = [json.loads(line) for line in (folder / "plane.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective": "cmim", "weight": 0.1, "cmim": CMIM, "augment": "flip-crop"},
        {"method": "irnet", "model": "resnet8-bireal-poolpad", "validation": 0.2},
        {"method": "float"},
        {"method": "reactnet", "plan": "two-step"},
    ],
    ids=["plain", "cmim-queue", "irnet-resnet", "float", "two-step"],
)
def test_measuring_changes_no_bit_of_the_run(
    quick, tmp_path: Path, assert_same_run, changes: dict[str, Any]
) -> None:
    recipe = quick(**changes)
    fit(recipe, tmp_path / "without")
    told = Told()
    fit(recipe, tmp_path / "with", plane=PLANE, display=told)
    assert_same_run(tmp_path / "without", tmp_path / "with")
    header, *rows = lines(tmp_path / "with")
    steps = len(told.rows) and told.rows[-1]["step"]
    assert [row["step"] for row in rows] == list(LogSteps(12).steps(steps))
    assert steps == 2 * (6 if recipe.validation else 7)
    assert [row["layers"] for row in rows] == [row["layers"] for row in told.rows]
    assert rows[-1]["epoch"] == 2.0
    assert header["settings"] == PLANE.to_json()
    read = read_plane(tmp_path / "with" / "plane.jsonl")
    assert read is not None and read.layers[-1] == "prediction"
    assert not (tmp_path / "without" / "plane.jsonl").exists()


def test_the_probe_is_the_split_without_augmentation(quick, tmp_path: Path) -> None:
    """The last point, measured again from the run's weights and the pixels, in another order."""
    recipe = quick(augment="flip-crop")
    fit(recipe, tmp_path / "run", plane=PlaneSettings(points=3, split="test"))
    header, *_, last = lines(tmp_path / "run")
    data = load(recipe.data)
    net = load_run_net(tmp_path / "run", data, torch.device("cpu"))
    x = normalize(data.test.images.flip(0), data.mean, data.std)
    again = InformationPlane(net, x, data.test.labels.flip(0), schedule=[14]).measure(14)
    assert again is not None and last["step"] == 14
    for name, reading in last["layers"].items():
        for key in ("entropy", "information", "distinct", "samples", "units"):
            assert reading[key] == pytest.approx(again["layers"][name][key]), (name, key)
    assert 0.5 < last["layers"]["prediction"]["information"] <= 2
    probe = header["probe"]
    assert (probe["split"], probe["samples"], probe["classes"]) == ("test", 80, 4)


def test_seeds_and_variants_share_the_probe(quick, tmp_path: Path) -> None:
    settings = PlaneSettings(points=1, samples=64)
    probes = []
    for name, changes in (("a", {}), ("b", {"seed": 1, "method": "float", "augment": "flip"})):
        fit(quick(epochs=1, **changes), tmp_path / name, plane=settings)
        probes.append(lines(tmp_path / name)[0]["probe"])
    assert probes[0] == probes[1]


def test_interrupted_anywhere_the_plane_is_that_of_an_uninterrupted_run(
    quick, tmp_path: Path, assert_same_run
) -> None:
    recipe = quick(epochs=4, augment="flip-crop")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(recipe, whole, plane=PLANE)
    for stop in ((1, 3), (1, 0), (2, 4), (2, 0), (3, 2)):
        with pytest.raises(Stop):
            # The settings are given once; afterwards the folder knows them.
            fit(recipe, cut, resume=True, display=Told(stop), plane=PLANE if stop[1] == 3 else None)
        torch.manual_seed(stop[0])
    with (cut / "plane.jsonl").open("a") as file:
        file.write('{"schema": 1, "step": 17, "lay')
    fit(recipe, cut, resume=True)
    assert lines(cut) == lines(whole)
    assert_same_run(whole, cut)


def test_a_damaged_plane_is_refused(quick, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        fit(quick(epochs=3), tmp_path, plane=PLANE, display=Told((2, 0)))
    file = tmp_path / "plane.jsonl"
    whole = file.read_text()
    kept = whole.splitlines(keepends=True)
    damages = {
        r"line 3: damaged or missing": [*kept[:2], '{"step"\n', *kept[3:]],
        r"line 4: damaged or missing": kept[:3] + kept[4:],
        r"line 5: damaged or missing": kept[:4],
        r"line 1: damaged; restore": ["{\n", *kept[1:]],
        r"line 1: 'settings' should hold": ["{}\n", *kept[1:]],
        r"line 1, .*|line 1: probe was": [
            kept[0].replace('"classes": 4', '"classes": 5'),
            *kept[1:],
        ],
    }
    for why, content in damages.items():
        file.write_text("".join(content))
        with pytest.raises(BitlensError, match=f"plane.jsonl, {why}"):
            fit(quick(epochs=3), tmp_path, resume=True)
        assert file.read_text() == "".join(content)
    file.write_text(whole)
    with pytest.raises(BitlensError, match=r"plane.jsonl, line 1: settings was .*'points': 12"):
        fit(quick(epochs=3), tmp_path, resume=True, plane=PlaneSettings(points=12, samples=50))
    file.unlink()
    with pytest.raises(BitlensError, match=r"its first steps can no longer be measured"):
        fit(quick(epochs=3), tmp_path, resume=True, plane=PLANE)
    fit(quick(epochs=3), tmp_path, resume=True)


def test_a_plane_may_begin_with_the_first_resume(quick, tmp_path: Path) -> None:
    """Nothing is lost as long as no epoch was finished."""
    with pytest.raises(Stop):
        fit(quick(), tmp_path, display=Told((1, 3)))
    fit(quick(), tmp_path, resume=True, plane=PLANE)
    assert [row["step"] for row in lines(tmp_path)[1:]] == list(LogSteps(12).steps(14))


def test_what_is_wrong_is_told_before_there_is_a_folder(quick, tmp_path: Path) -> None:
    for settings, why in (
        (PlaneSettings(layers="hiden.0"), "did you mean hidden.0"),
        (PlaneSettings(samples=20), "20 samples of 4 classes"),
    ):
        with pytest.raises(BitlensError, match=why):
            fit(quick(), tmp_path / "run", plane=settings)
        assert not (tmp_path / "run").exists()


def test_times_of_measuring_are_no_times_of_training(
    quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = InformationPlane.measure

    def dear(plane: InformationPlane, step: int) -> dict[str, Any] | None:
        row = measure(plane, step)
        assert row is not None
        return row | {"seconds": row["seconds"] + 1000.0}

    monkeypatch.setattr(InformationPlane, "measure", dear)
    summary = fit(quick(epochs=1), tmp_path, plane=PlaneSettings(points=2))
    assert -3000 < summary["seconds"] < -2900, "three points of a thousand seconds are left out"


def test_layers_and_samples_are_chosen(quick, tmp_path: Path) -> None:
    fit(quick(), tmp_path, plane=PlaneSettings(points=1, layers="hidden.1, stem.norm", samples=100))
    header, *rows = lines(tmp_path)
    assert header["layers"] == ["stem.norm", "hidden.1.linear", "prediction"]
    assert header["readouts"]["stem.norm"] == "output signs"
    assert [row["step"] for row in rows] == [0, 14]
    assert all(r["samples"] == 100 for row in rows for r in row["layers"].values())


def test_the_default_number_of_samples() -> None:
    settings = PlaneSettings()
    assert settings.probe_size(50_000, seen=10 * 49_920, points=61) == round(0.25 * 499_200 / 61)
    assert settings.probe_size(50_000, seen=10_000, points=50) == 2000
    assert settings.probe_size(1500, seen=10_000, points=50) == 1500
    assert settings.probe_size(50_000, seen=10**9, points=70) == 50_000
    assert PlaneSettings(samples=77).probe_size(50_000, seen=10**9, points=70) == 77


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"samples": -1}, "samples=-1"),
        ({"samples": True}, "samples=True"),
        ({"points": 0}, "points=0"),
        ({"layers": ["a"]}, "give names with commas"),
        ({"split": "trian"}, "did you mean train"),
    ],
)
def test_impossible_settings(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(BitlensError, match=why):
        PlaneSettings(**wrong)


@pytest.mark.parametrize("jobs", [1, 2])
def test_compare_measures_every_run(quick, tmp_path: Path, jobs: int) -> None:
    recipes = [quick(epochs=1), quick(epochs=1, name="float", method="float")]
    settings = PlaneSettings(points=3)
    options: dict[str, Any] = {"baseline": "quick", "resolve": {}.get}
    compare(recipes[:1], [0], tmp_path, **options)
    compare(recipes, [0, 1], tmp_path, **options, jobs=jobs, plane=settings)
    found = sorted(str(f.parent.relative_to(tmp_path)) for f in tmp_path.glob("*/*/plane.jsonl"))
    assert found == ["float/seed0", "float/seed1", "quick/seed1"]
    assert all(RunFolder(tmp_path / name).complete for name in found)
