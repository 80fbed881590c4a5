"""From folders to CSVs, pictures and pages: a page that does not hold what was found is noticed."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from bitlens.errors import BitlensError
from bitlens.studies.dense.markdown import NOTHING, dense_tables

SCRIPTS = Path(__file__).parents[3] / "scripts"
FORMS = ("full segment-depth", "pictures segment-depth", "full depth", "costs", "short")
MARKED = "<!-- dense: results/dense_summary.csv {} -->\n<!-- end -->\n"
SETTING = "<!-- dense: results/dense_runs.csv setting -->\n<!-- end -->\n"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs update_tables on a page of its own."""
    module = script("update_tables")
    for folder in ("docs", "results"):
        (tmp_path / folder).mkdir()
    page = tmp_path / "docs" / "dense.md"
    page.write_text(SETTING + "".join(map(MARKED.format, FORMS)))
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "METHOD_TABLE", (tmp_path / "no.csv", tmp_path / "no.csv"))
    monkeypatch.setattr(module, "PAGES", (page,))

    def update(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["update_tables.py", *arguments])
        return module.main()

    return update


def publish(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["publish_dense.py", *arguments])
    return script("publish_dense").main()


def test_without_runs_the_page_says_so(pages, tmp_path: Path) -> None:
    assert pages() == 0
    page = (tmp_path / "docs" / "dense.md").read_text()
    assert page.count(NOTHING) == 4 and "|" not in page
    assert pages("--check") == 0


def test_what_was_found_is_published(
    pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fabricate: Callable[..., Path]
) -> None:
    metrics = {
        "plain": {0: {"miou": 0.30}, 1: {"miou": 0.34}},
        "float": {0: {"miou": 0.50}, 1: {"miou": 0.50}},
        "cmim": {0: {"miou": 0.31}, 1: {"miou": 0.36}},
    }
    folder = fabricate(tmp_path / "c", metrics, {"cmim": 15.0})
    (tmp_path / "docs" / "dense_segment.jpg").write_bytes(b"of an older publication")
    out = str(tmp_path / "study")
    assert (
        publish(monkeypatch, str(folder), "--out", out, "--root", str(tmp_path), "--scenes", "1")
        == 0
    )
    names = sorted(path.name for path in (tmp_path / "docs").glob("dense_*"))
    assert names == ["dense_segment-depth_classes.png", "dense_segment-depth_depth.png"]
    assert pages("--check") == 1, "the page does not hold the tables yet"
    assert pages() == 0 and pages("--check") == 0
    lines = (tmp_path / "docs" / "dense.md").read_text().splitlines()
    (budget,) = [line for line in lines if line.startswith("segment-depth: ")]
    assert "dense-resnet18-bireal-half, 1 epoch of 12 scenes, judged on 5;" in budget
    # By hand: mean 32, sd 2.83; share (60 + 68) / 2 %; +1.5 points, t(0.975, 1) = 12.706 by sd 0.707 / 1.414.
    assert any(line.startswith("| plain | 2 | 32.00 ± 2.83 | ") for line in lines)
    plain = next(line for line in lines if line.startswith("| plain | +"))
    assert "| 64.0 (13.2 .. 114.8) | - | - |" in plain
    cmim = next(line for line in lines if line.startswith("| cmim | +"))
    assert cmim.endswith("| +1.50 (-4.85 .. +7.85) | no difference |")
    short = next(line for line in lines if line.startswith("| segment-depth: mIoU, % |"))
    assert "| float | 2 | 50.00 ± 0.00 | - | - |" in short
    costs = next(line for line in lines if line.startswith("| segment-depth | cmim |"))
    assert costs.endswith("| 1.50 (1.50 .. 1.50) |")
    assert sum(line.startswith("![") for line in lines) == 2
    assert "No runs of the task depth are published yet." in lines


def test_a_page_that_lags_is_noticed(
    pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fabricate: Callable[..., Path]
) -> None:
    folder = fabricate(tmp_path / "c", {"plain": {0: {}}, "float": {0: {}}})
    arguments = (
        str(folder),
        "--out",
        str(tmp_path / "s"),
        "--root",
        str(tmp_path),
        "--scenes",
        "1",
    )
    assert publish(monkeypatch, *arguments) == 0 and pages() == 0
    summary = tmp_path / "results" / "dense_summary.csv"
    summary.write_text(summary.read_text().replace(",miou,1,0.", ",miou,1,1."))
    assert pages("--check") == 1


def test_bad_folders_end_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        publish(monkeypatch, str(tmp_path / "nowhere"), "--root", str(tmp_path))
    assert "nowhere is not a comparison" in capsys.readouterr().err


def test_sheets_become_small_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("publish_dense")
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    whole, ending = module.small(Image.fromarray(noise))
    assert ending == ".png" and len(whole) < module.LARGEST
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(whole))), noise)
    monkeypatch.setattr(module, "LARGEST", len(whole) // 3)
    squeezed, ending = module.small(Image.fromarray(noise))
    assert ending == ".jpg" and len(squeezed) <= module.LARGEST
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(BitlensError, match="show fewer scenes"):
        module.small(Image.fromarray(noise))


@pytest.mark.parametrize(
    ("form", "about", "told"),
    [
        ("fulll", (), "unknown form 'fulll'"),
        ("full", (), "only full takes one"),
        ("short", ("depth",), "only full takes one"),
        ("full", ("depht",), "unknown task 'depht'"),
    ],
)
def test_bad_marks_are_explained(
    form: str, about: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    with pytest.raises(BitlensError, match=told):
        dense_tables(tmp_path / "none.csv", form, *about)
