"""Every example runs and shows what it promises."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def test_own_loop_learns_and_reports_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = load("own_loop.py")["main"](steps=100)
    printed = capsys.readouterr().out
    assert accuracy > 0.3
    assert "MI bound" in printed
    assert "binary (reactnet)" in printed


def test_any_net_says_what_stays_float() -> None:
    table = load("binarize_any_net.py")["main"]()
    why = {row.name: (row.bits, row.why) for row in table.rows}
    assert why["body.2"] == (1, "binary (irnet)")
    assert why["embed"] == (32, "kept float")
    assert why["mix.out_proj"][0] == 32
    assert "weight" in why["mix.out_proj"][1]


def test_paired_comparison_ends_with_a_verdict_and_a_page(tmp_path: Path) -> None:
    sentences = load("paired_comparison.py")["main"](tmp_path, seeds=2, images=512)
    assert len(sentences) == 1
    assert "demo-cmim" in sentences[0]
    assert (tmp_path / "report.html").stat().st_size > 1_000_000


def test_the_plane_of_an_own_loop_flags_what_it_cannot_measure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plane = load("information_plane.py")["main"](steps=60, path=str(tmp_path / "plane.jsonl"))
    first, last = plane.rows[0]["layers"], plane.rows[-1]["layers"]
    assert plane.layers == ["2.0", "3.0", "4.0", "5", "prediction"]
    assert {row["layers"]["2.0"]["flag"] for row in plane.rows} == {"saturated"}
    assert last["5"]["flag"] in ("reliable", "corrected")
    assert last["5"]["information"] > first["5"]["information"] + 0.5
    assert "saturated" in capsys.readouterr().out
    assert len((tmp_path / "plane.jsonl").read_text().splitlines()) == len(plane.rows) + 1


def test_an_own_method_learns_and_is_packed_bit_for_bit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    loss = load("own_method.py")["main"](steps=40)
    sys.modules.pop("own_method")
    assert loss < 1.5, "ten classes: chance is 2.3"
    assert "98,304 signs of 2 layers on 64 images equal torch's bit for bit" in (
        capsys.readouterr().out
    )


def test_examples_stay_short() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path.name


def test_a_net_is_packed_and_answers_as_in_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fashion.bits"
    packed, torchs = load("pack_and_run.py")["main"](steps=60, path=str(path))
    printed = capsys.readouterr().out
    assert "equal torch's bit for bit; predictions identical: 256 of 256" in printed
    assert torchs > 0.4 and abs(packed - torchs) < 0.03
    assert path.stat().st_size < 40_000


def test_a_folder_of_scenes_becomes_a_file_that_segments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for number in range(count):
            mask = np.zeros((32, 40), np.uint8)
            top, left = draw.integers(2, 14, 2)
            mask[top : top + 14, left : left + 20] = 1
            image = (120 * mask + draw.integers(0, 60, mask.shape)).astype(np.uint8)
            for kind, pixels in (("images", image), ("masks", mask)):
                (tmp_path / split / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / split / kind / f"{number}.png")
    out = tmp_path / "run"
    metrics = load("segment_and_pack.py")["main"](str(tmp_path), out, epochs=2)
    assert set(metrics) == {"miou", "pixel_accuracy", "class_accuracy"}
    printed = capsys.readouterr().out
    assert "equal torch's bit for bit" in printed and "bytes" in printed
    with Image.open(out / "mask.png") as mask:
        assert mask.size == (40, 32) and mask.mode == "P" and mask.getextrema()[1] <= 1
    assert (out / "model.bits").stat().st_size < 1_500_000
