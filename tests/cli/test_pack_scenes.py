"""`bitlens pack` with runs of dense prediction: checked, judged on test scenes, at the size asked for."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitlens.cli import main
from bitlens.cli.pack_scenes import ScenesTested
from bitlens.data import load_scenes
from bitlens.data.normalize import normalize
from bitlens.data.pixels import read_framed
from bitlens.engine.file.format import read
from bitlens.engine.heads import heads_of
from bitlens.models.dense import DENSE_NETS, TOTAL_STRIDE, create_dense
from bitlens.tasks.dense import DenseTask
from bitlens.training.build import load_run_net
from bitlens.training.packing_images import filled, scaled
from bitlens.training.run import RunFolder

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
    told = re.search(r"2 scenes at 24x40: miou (\S+) in torch, (\S+) packed; .*delta1 ", said.out)
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
    assert "2 scenes at 28x46 filled up to 33x46: miou" in said.out


def test_at_the_stored_size_scenes_are_judged_as_they_are_stored(
    say, scenes: Path, tmp_path: Path
) -> None:
    options = ("--epochs", "1", "--batch-size", "2", "--threads", "1", "--image-size", "16")
    given = ("--data", f"scenes:{scenes}", "--out", "small")
    assert say("train", "nyudv2-both-plain", *options, *given).code == 0
    said = say("pack", "small", "--size", f"{HEIGHT}x{WIDTH}", "--float32", "--threads", "1")
    assert said.code == 0, said.err
    assert f"2 scenes at {HEIGHT}x{WIDTH}: miou" in said.out
    recipe = RunFolder(Path("small")).recipe()
    trained_on = load_scenes(recipe.data, image_size=16)
    stored = load_scenes(recipe.data, image_size=None)
    net = load_run_net(Path("small"), trained_on, torch.device("cpu"))
    task = DenseTask(net, heads={"segment": 3, "depth": 1}, config=recipe.dense, crop=stored.crop)
    batches = [
        (normalize(pixels, trained_on.mean, trained_on.std), truth)
        for pixels, truth in stored.test.batches([torch.arange(2)])
    ]
    expected = task.evaluate(batches)
    graph = read(Path("small/model.bits"))
    assert graph.mean == pytest.approx(trained_on.mean)
    for name in ("miou", "pixel_accuracy", "rmse", "abs_rel", "delta1"):
        assert graph.meta[f"test_{name}_torch"] == pytest.approx(expected[name], rel=1e-5), name


@pytest.mark.parametrize("size", [(48, 80), (13, 40), (30, 17), (24, 60), (24, 40)])
def test_scenes_are_laid_into_a_size_as_pictures_are(
    tmp_path: Path, scenes: Path, size: tuple[int, int]
) -> None:
    picture = scenes / "train" / "images" / "0.png"
    with Image.open(picture) as image:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    expected = read_framed(picture, height=size[0], width=size[1], channels=3)
    found = scaled(pixels, size)
    assert tuple(found.shape[2:]) == expected.inside
    # Two libraries' fixed-point weights: they may round a half differently.
    apart = np.abs(filled(found.float(), size)[0].numpy() - expected.pixels)
    assert apart.max() <= 1 and (apart > 0).mean() < 0.02


def test_metrics_of_no_pixel_are_not_known() -> None:
    numbers = {"miou": float("nan"), "rmse": 0.5}
    tested = ScenesTested(scenes=3, images=(24, 40), frame=(24, 40), torch=numbers, packed=numbers)
    assert tested.meta() == {"test_images": 3, "test_rmse": 0.5, "test_rmse_torch": 0.5}
    assert "miou not known in torch, not known packed; rmse 0.5000" in str(tested)


def test_info_tells_what_the_file_was_judged_by(say, run: Path) -> None:
    assert say("pack", "run", "--threads", "1").code == 0
    said = say("info", "run/model.bits")
    assert "task segment-depth: 3 classes, depth, one answer for 4x4 pixels\n" in said.out
    miou = read(run / "model.bits").meta["test_miou"]
    assert f"2 test scenes: miou {miou:.4f}, pixel_accuracy " in said.out


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("1x1", "at least 16 pixels a side"),
        ("15x640", "at least 16 pixels a side"),
        ("99999x99999", "more than a packed net takes"),
        ("65536x65536", "more than a packed net takes"),
        ("65537x16", "sides up to 65,536"),
    ],
)
def test_sizes_that_no_file_takes(say, run: Path, size: str, message: str) -> None:
    said = say("pack", "run", "--size", size)
    assert said.code == 2 and message in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("name", DENSE_NETS)
def test_every_dense_net_has_the_stride_that_sizes_are_held_against(name: str) -> None:
    with torch.device("meta"):
        net = create_dense(
            name, method="float", heads={"depth": 1}, channels=3, image_size=(32, 32)
        )
    assert net.total_stride == TOTAL_STRIDE


@pytest.mark.parametrize("size", ["64", "64x", "0x32", "axb", "1x2x3", "-4x4"])
def test_sizes_that_are_none(say, run: Path, size: str) -> None:
    said = say("pack", "run", f"--size={size}")
    assert said.code == 2 and f"size={size}; give height and width" in said.err


def test_classifiers_have_the_size_of_their_images(say, tmp_path: Path, tiny_data: str) -> None:
    given = ("--model", "mlp", "--epochs", "1", "--batch-size", "32", "--augment", "none")
    assert say("train", "demo-plain", *given, "--data", tiny_data, "--out", "run").code == 0
    said = say("pack", "run", "--size", "64x64")
    assert said.code == 2 and "run classifies whole images" in said.err
