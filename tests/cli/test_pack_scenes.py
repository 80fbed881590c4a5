"""`bitlens pack` with runs of dense prediction: checked, judged on test scenes, at the size asked for."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.cli import main
from bitlens.engine.file.format import read
from bitlens.engine.heads import heads_of

HEIGHT, WIDTH = 24, 40


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small scenes whose brightness tells class and depth."""
    root = tmp_path_factory.mktemp("rooms")
    draw = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for kind in ("images", "masks", "depths"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[:, 10 + number :] = 1
            mask[15:] = 2
            noise = draw.integers(0, 60, (HEIGHT, WIDTH, 3))
            pixels = (80 * mask[..., None].astype(int) + noise).astype(np.uint8)
            depth = (1000 + 1000 * mask.astype(np.uint16)).astype(np.uint16)
            for kind, made in (("images", pixels), ("masks", mask), ("depths", depth)):
                Image.fromarray(made).save(root / split / kind / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Path:
    """A finished run on them."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    options = ("--epochs", "1", "--batch-size", "2", "--threads", "1", "--image-size", "0")
    given = ("--data", f"scenes:{scenes}", "--out", str(folder))
    assert main(["train", "nyudv2-both-plain", *options, *given]) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_dense_run_is_packed_and_judged(say, run: Path, scenes: Path, tmp_path: Path) -> None:
    said = say("pack", "run", "--threads", "1")
    assert said.code == 0, said.err
    graph = read(run / "model.bits")
    heads = heads_of(graph)
    assert heads is not None and heads.channels == {"segment": 3, "depth": 1}
    assert graph.values[graph.input].shape == (HEIGHT, WIDTH, 3)
    assert graph.values[graph.output].shape == (HEIGHT // 4, WIDTH // 4, 4)
    assert len(graph.labels) == 3 and graph.meta["task"] == "segment-depth"
    assert graph.meta["data"] == f"scenes:{scenes.name}"
    summary = json.loads((run / "summary.json").read_text())
    assert graph.meta["test_miou_torch"] == pytest.approx(summary["test_accuracy"], abs=1e-6)
    told = re.search(r"2 scenes: miou (\S+) in torch, (\S+) packed; .*delta1 ", said.out)
    assert told is not None
    assert float(told[2]) == pytest.approx(graph.meta["test_miou"], abs=1e-4)
    picture = scenes / "test" / "images" / "0.png"
    made = say("predict", "run", str(picture), "--out", "out")
    assert made.code == 0, made.err
    with Image.open(tmp_path / "out" / "0.mask.png") as mask:
        assert mask.size == (WIDTH, HEIGHT)


def test_another_size_needs_no_training(say, run: Path) -> None:
    said = say("pack", "run", "--size", "33x46", "--float32", "-o", "larger.bits", "--threads", "1")
    assert said.code == 0, said.err
    graph = read("larger.bits")
    assert graph.values[graph.input].shape == (33, 46, 3)
    assert graph.values[graph.output].shape == (9, 12, 4)


@pytest.mark.parametrize("size", ["64", "64x", "0x32", "axb", "1x2x3", "-4x4"])
def test_sizes_that_are_none(say, run: Path, size: str) -> None:
    said = say("pack", "run", f"--size={size}")
    assert said.code == 2 and f"size={size}; give height and width" in said.err


def test_classifiers_have_the_size_of_their_images(say, tmp_path: Path, tiny_data: str) -> None:
    given = ("--model", "mlp", "--epochs", "1", "--batch-size", "32", "--augment", "none")
    assert say("train", "demo-plain", *given, "--data", tiny_data, "--out", "run").code == 0
    said = say("pack", "run", "--size", "64x64")
    assert said.code == 2 and "run classifies whole images" in said.err
