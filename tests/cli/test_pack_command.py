"""`bitlens pack` and `bitlens info FILE`: from a run folder to a checked file, or nothing at all."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.cli import main

TRAINED = ("--model", "mlp", "--epochs", "1", "--batch-size", "32", "--threads", "1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_data: str) -> Path:
    """A finished run of a small net."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    given = ("--data", tiny_data, "--augment", "none", "--out", str(folder))
    assert main(["train", "demo-plain", *TRAINED, *given]) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it in the folder where commands run."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_pack_writes_a_checked_file_beside_the_run(say, run: Path) -> None:
    said = say("pack", "run", "--threads", "1")
    assert said.code == 0, said.err
    file = run / "model.bits"
    assert re.search(r"checked: [\d,]+ signs of \d+ layers on 80 images equal torch's", said.out)
    accuracy = json.loads((run / "summary.json").read_text())["test_accuracy"]
    assert f"test split, 80 images: accuracy {accuracy:.2%} in torch" in said.out
    assert re.search(r"packed; top-1 equal on \d+ of 80\n", said.out)
    assert "run/model.bits: " in said.out and "x smaller" in said.out
    assert "hidden.1.linear" in said.out, "the layer table"
    assert not list(run.glob(".*part")) and file.stat().st_size < 200_000


def test_the_file_knows_where_it_comes_from(say, run: Path, tiny_data: str) -> None:
    from bitlens.data import load
    from bitlens.engine.file.format import read
    from bitlens.engine.run.session import Session

    said = say("pack", "run", "-o", "mine.bits", "--threads", "1", "--images", "5")
    assert said.code == 0 and " on 5 images " in said.out
    assert not (run / "model.bits").exists()
    graph = read("mine.bits")
    data = load(tiny_data)
    assert graph.labels == data.classes == ("a", "b", "c", "d")
    assert graph.mean == pytest.approx(data.mean) and graph.std == pytest.approx(data.std)
    wanted = {"recipe": "demo-plain", "seed": 0, "model": "mlp", "method": "bireal"}
    assert wanted.items() <= graph.meta.items()
    folder = Path(tiny_data.removeprefix("parquet:"))
    assert graph.meta["data"] == f"parquet:{folder.name}", "no folder of the machine that packed it"
    logits = Session(graph)(data.test.images.numpy())
    hits = (logits.argmax(1) == data.test.labels.numpy()).mean()
    assert graph.meta["test_accuracy"] == pytest.approx(hits)


def test_float32_keeps_the_nets_own_answers(say, run: Path) -> None:
    said = say("pack", "run", "--float32", "--threads", "1")
    assert said.code == 0, said.err
    assert "top-1 equal on 80 of 80" in said.out
    coarse = say("pack", "run", "-o", "int8.bits", "--threads", "1")
    assert coarse.code == 0
    assert (run / "model.bits").stat().st_size > Path("int8.bits").stat().st_size


def test_color_images_and_a_net_that_flattens_them(say, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for shade, name in ((0, "dark"), (128, "light")):
            (tmp_path / "colors" / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = draw.integers(shade, shade + 128, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "colors" / split / name / f"{k}.png")
    given = ("--data", "folder:colors", "--augment", "none", "--out", "run")
    assert say("train", "demo-plain", *TRAINED, "--batch-size", "8", *given).code == 0
    said = say("pack", "run", "--threads", "1")
    assert said.code == 0, said.err
    assert "test split, 8 images" in said.out


def test_packing_again_replaces_the_file(say, run: Path) -> None:
    (run / "model.bits").write_bytes(b"old")
    assert say("pack", "run", "--threads", "1").code == 0
    assert (run / "model.bits").stat().st_size > 1000


@pytest.mark.parametrize("failure", ["full disk", "Ctrl-C"])
def test_nothing_half_written_stays(
    say, run: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    (run / "model.bits").write_bytes(b"old")
    before = sorted(path.name for path in run.iterdir())

    def stop(handle: int) -> None:
        if failure == "Ctrl-C":
            raise KeyboardInterrupt
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bitlens.engine.file.format.os.fsync", stop)
    said = say("pack", "run", "--threads", "1")
    if failure == "Ctrl-C":
        assert said.code == 130 and said.err.strip() == "bitlens: stopped"
    else:
        assert said.code == 2
        assert said.err == "bitlens: run/model.bits cannot be written: No space left on device\n"
    assert (run / "model.bits").read_bytes() == b"old"
    assert sorted(path.name for path in run.iterdir()) == before


def test_info_of_the_file(say, run: Path) -> None:
    refused = say("info", "run/model.bits")
    assert refused.code == 2 and "run/model.bits does not exist" in refused.err
    assert say("pack", "run", "--threads", "1").code == 0
    said = say("info", "run/model.bits")
    assert said.code == 0, said.err
    assert said.out.startswith("run/model.bits: model mlp, method bireal, data parquet:")
    assert "images 1x8x8" in said.out
    assert f"{(run / 'model.bits').stat().st_size:,}" in said.out, (
        "the table ends in the file's size"
    )
    assert "OPs = float + int8 / 8 + binary / 64" in said.out
    (run / "model.bits").rename("other")
    assert say("info", "other").out.startswith("other: model mlp")
    Path("other").rename(run / "model.bits")
    (run / "model.bits").write_bytes((run / "model.bits").read_bytes()[:-7])
    damaged = say("info", "run/model.bits")
    assert damaged.code == 2 and damaged.err.count("\n") == 1 and "model.bits" in damaged.err


CASES = {
    "no run": (["pack"], "pack: name one run folder, before the options"),
    "two runs": (["pack", "a", "b"], "pack: name one run folder, before the options"),
    "images": (["pack", "a", "--images", "-1"], "pack: images=-1; compare at least 1, or 0 for as"),
    "threads": (["pack", "a", "-o", "b.bits", "--threads", "-1"], "threads=-1; give at least 1"),
    "not there": (["pack", "nope"], "pack: there is no run folder nope"),
    "not a run": (["pack", ".", "-o", "b.bits"], "holds no run (recipe.json is missing)"),
    "ending": (["pack", "a", "-o", "b.txt"], "pack: b.txt must end in .bits"),
    "options first": (["pack", "--strict", "a"], "pack: name one run folder, before the options"),
    "info and options": (
        ["info", "a.bits", "--classes", "3"],
        "--classes describes a model by name",
    ),
    "two files": (["info", "a.bits", "b.bits"], "info: name one run folder or one model"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(say, tmp_path: Path, name: str) -> None:
    arguments, message = CASES[name]
    said = say(*arguments)
    assert said.code == 2 and said.err.startswith("bitlens: ") and said.err.count("\n") == 1
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_is_refused(say, run: Path) -> None:
    (run / "summary.json").unlink()
    said = say("pack", "run", "--threads", "1")
    assert said.code == 2 and "run: the run is not finished; resume it first" in said.err
    assert not (run / "model.bits").exists()


def test_a_folder_in_the_way(say, run: Path) -> None:
    (run / "model.bits").mkdir()
    said = say("pack", "run")
    assert said.code == 2 and "pack: run/model.bits is a folder" in said.err
    said = say("pack", "run", "--out", "c/b.bits")
    assert said.code == 2 and "pack: there is no folder c to write b.bits into" in said.err


def test_int8_layers_are_calibrated_on_few_images(
    say, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bitlens

    taken: list[int] = []
    own = bitlens.pack

    def pack(net, example, calibration, **options):
        taken.extend(map(len, calibration))
        return own(net, example, calibration, **options)

    monkeypatch.setattr("bitlens.training.packing_images.CALIBRATION", 37)
    monkeypatch.setattr(bitlens, "pack", pack)
    assert say("pack", "run", "--threads", "1").code == 0
    assert sum(taken) == 37


def test_signs_of_the_file_are_those_of_the_weights(say, run: Path, trained: Path) -> None:
    """Independent of the packer: latent weights of the run, their signs, and the file's."""
    from safetensors.numpy import load_file

    import bitlens

    assert say("pack", "run", "--threads", "1").code == 0
    latent = load_file(trained / "last.safetensors")
    signs = bitlens.signs(run / "model.bits")
    assert signs
    for name, found in signs.items():
        own = next(v for k, v in latent.items() if k.startswith(f"{name}.") and v.ndim == 2)
        np.testing.assert_array_equal(found, np.where(own >= 0, 1, -1))


def test_a_runtime_method_is_refused_with_its_reason(say, quick_options) -> None:
    options = ("--method", "rbnn", *quick_options, "--out", "centered")
    assert say("train", "demo-plain", *options).code == 0
    said = say("pack", "centered", "--threads", "1")
    assert said.code == 2 and said.err.count("\n") == 1
    assert "hidden.0.linear: method 'rbnn' does not fold into thresholds: every image's" in said.err
    assert not Path("centered/model.bits").exists()
