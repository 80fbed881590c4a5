"""The loop on scenes: every task trains, resumes to the same bits and reports its own metrics."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from bitlens.data import load_scenes
from bitlens.data.dense.scenes import SceneData
from bitlens.errors import BitlensError
from bitlens.models.dense.bottleneck import GaussianBottleneck
from bitlens.objectives.config import PRESETS
from bitlens.tasks.balance import FixedBalance, UncertaintyBalance
from bitlens.tasks.config import DenseConfig
from bitlens.tasks.dense import DenseTask
from bitlens.training import feed as feed_module
from bitlens.training.build import build_task, load_run_net
from bitlens.training.display import Silent
from bitlens.training.feed import SceneFeed, make_feed
from bitlens.training.fit import fit, no_teacher
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.recipe import Recipe
from bitlens.training.streams import Streams

CPU = torch.device("cpu")
SEGMENTS = {"miou", "pixel_accuracy", "class_accuracy"}
DEPTHS = {"rmse", "abs_rel", "log10", "delta1", "delta2", "delta3"}


@pytest.fixture
def dense(rooms: str) -> Callable[..., Recipe]:
    """A recipe on tiny scenes, with any fields replaced."""

    def make(**changes: Any) -> Recipe:
        base = Recipe(
            name="rooms",
            task="segment-depth",
            data=rooms,
            augment="scale-crop",
            model="dense-resnet18-bireal-half",
            epochs=2,
            batch_size=4,
        )
        return replace(base, **changes)

    return make


@pytest.mark.parametrize(
    ("task", "headline", "known"),
    [
        ("segment", "miou", SEGMENTS),
        ("depth", "delta1", DEPTHS),
        ("segment-depth", "miou", SEGMENTS | DEPTHS),
    ],
)
def test_every_task_reports_its_own_metrics(
    dense, rows, tmp_path: Path, task: str, headline: str, known: set[str]
) -> None:
    recipe = dense(task=task, epochs=1, objective="cmim", weight=0.1, cmim=PRESETS["dense"])
    summary = fit(recipe, tmp_path / "run")
    assert summary["metric"] == headline and summary["test_metrics"].keys() == known
    assert summary["test_accuracy"] == summary["test_metrics"][headline]
    (row,) = rows(tmp_path / "run")
    assert row["metric"] == headline and row["eval_metrics"].keys() == known
    assert row["bound"] is not None and 0 <= row["train_accuracy"] <= 1
    json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=_no_constant)


def _no_constant(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


class Stop(Silent):
    """A display that ends the run after its first epoch."""

    def epoch(self, row: dict[str, Any]) -> None:
        raise KeyboardInterrupt


def test_a_resumed_run_ends_with_the_same_bits(dense, assert_same_run, tmp_path: Path) -> None:
    recipe = dense(
        **{"objective": "cmim", "weight": 0.1, "validation": 0.25, "method": "reactnet"},
        cmim=replace(PRESETS["dense"], pairs="location", anchors=16),
        dense=DenseConfig(balance="uncertainty", bottleneck=1e-3, depth_loss="berhu"),
    )
    whole = fit(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, tmp_path / "cut", display=Stop())
    cut = fit(recipe, tmp_path / "cut", resume=True)
    assert cut["complete"] and cut["test_metrics"] == whole["test_metrics"]
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_a_recipe_reaches_net_task_and_judge(dense) -> None:
    """Every dense setting, and the part of the frame that is judged, arrives where it counts."""
    settings = DenseConfig(balance="uncertainty", bottleneck=1e-3, depth_loss="silog")
    feed = make_feed(dense(dense=settings), CPU)
    assert isinstance(feed.data, SceneData)
    data = replace(feed.data, crop=(0.25, 1.0, 0.0, 0.5))
    task = build_task(dense(dense=settings), data, 12, CPU, no_teacher)
    assert isinstance(task, DenseTask)
    assert (task.crop, task.config, task.heads) == (data.crop, settings, {"segment": 3, "depth": 1})
    assert isinstance(task.balance, UncertaintyBalance)
    bottleneck = task.net.get_submodule("bottleneck")
    assert isinstance(bottleneck, GaussianBottleneck) and bottleneck.beta == 1e-3
    plain = build_task(dense(), feed.data, 12, CPU, no_teacher)
    assert isinstance(plain, DenseTask) and isinstance(plain.balance, FixedBalance)
    assert plain.crop is None and isinstance(plain.net.get_submodule("bottleneck"), nn.Identity)


def test_a_net_that_turns_to_nan_is_blamed_and_not_the_data(
    dense, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = DenseTask.evaluate

    def spoiled(self: DenseTask, batches: Any) -> dict[str, float]:
        self.net.get_submodule("head.depth").get_parameter("bias").data.fill_(math.nan)
        return evaluate(self, batches)

    monkeypatch.setattr(DenseTask, "evaluate", spoiled)
    with pytest.raises(BitlensError, match=r"parameter 'head\.depth\.bias' holds NaN"):
        fit(dense(task="depth", epochs=1), tmp_path / "run")


def test_masks_of_void_alone_are_refused(dense, rooms: str, tmp_path: Path) -> None:
    there = tmp_path / "void"
    shutil.copytree(rooms.removeprefix("scenes:"), there)
    for file in (there / "test" / "masks").glob("*.png"):
        Image.new("L", (32, 24), 255).save(file)
    with pytest.raises(BitlensError, match=r"no pixel of the test scenes of .* has a class"):
        fit(dense(data=f"scenes:{there}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_known_outside_the_judged_part_does_not_count(
    dense, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The truth of one scene, known in the upper half alone, where the lower half is judged."""
    data = load_scenes(dense().data)
    assert data.test.depths is not None
    depths = data.test.depths.clone()
    depths[:, 12:] = 0
    lower = replace(data, test=replace(data.test, depths=depths), crop=(0.5, 1.0, 0.0, 1.0))
    monkeypatch.setattr(feed_module, "load_scenes", lambda *_, **__: lower)
    with pytest.raises(BitlensError, match=r"no pixel of the test scenes of .* has a depth"):
        fit(dense(task="depth"), tmp_path / "run")
    fit(dense(task="segment", epochs=1), tmp_path / "run")


def test_the_first_depth_is_the_mean_of_the_logarithms(dense, tmp_path: Path) -> None:
    """Before any step every pixel is told the training scenes' geometric mean depth."""
    recipe = dense(task="depth", epochs=1, lr=1e-12)
    fit(recipe, tmp_path / "run")
    data = load_scenes(recipe.data)
    net = load_run_net(tmp_path / "run", data, CPU).eval()
    assert data.train.depths is not None
    known = data.train.depths[data.train.depths > 0].double() / 1000
    with torch.no_grad():
        said = net(torch.zeros(1, 3, 24, 32))
    assert said.mean().item() == pytest.approx(known.log().mean().item(), abs=1e-4)


def test_batches_move_images_and_truth_together(dense) -> None:
    feed = make_feed(dense(augment="flip"), CPU)
    assert isinstance(feed, SceneFeed) and feed.train.masks is not None
    seen: list[int] = []
    for batch in feed.epoch(Streams(0)):
        stored = feed.train.masks[batch.indices].long()
        for mask, plain in zip(batch.truth.mask, stored, strict=True):
            assert torch.equal(mask, plain) or torch.equal(mask, plain.flip(1))
        seen += batch.indices.tolist()
    assert len(set(seen)) == len(seen) == 12


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_images": 40}, "train_images=40, but there are 12 scenes"),
        ({"validation": 0.01}, "validation=0.01 holds out 0 of 12 scenes"),
        ({"augment": "flip-crop"}, "unknown augmentation 'flip-crop'"),
        ({"model": "resnet8-bireal-poolpad"}, "unknown model 'resnet8-bireal-poolpad'"),
        ({"data": "cifar10"}, "unknown set of scenes 'cifar10'"),
    ],
)
def test_what_is_refused_leaves_no_folder(dense, tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(BitlensError, match=said):
        fit(dense(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_parts_of_the_scenes(dense) -> None:
    feed = make_feed(dense(train_images=8, validation=0.25, batch_size=2), CPU)
    assert (len(feed.train), len(feed.held), len(feed.test)) == (6, 2, 5)
    again = make_feed(dense(train_images=8, validation=0.25, batch_size=2, seed=7), CPU)
    assert torch.equal(feed.held.images, again.held.images), "seeds share what is held out"


def test_a_task_needs_its_truth(dense, rooms: str, tmp_path: Path) -> None:
    source, there = Path(rooms.removeprefix("scenes:")), tmp_path / "masks-only"
    for file in source.rglob("*"):
        if file.is_file() and file.parent.name != "depths":
            copy = there / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    with pytest.raises(BitlensError, match=r"task='depth', but .* has only masks; use task='segm"):
        fit(dense(task="depth", data=f"scenes:{there}"), tmp_path / "run")


def test_the_information_plane_needs_a_class_per_image(dense, tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match="one class per image, and task='segment-depth' has no"):
        fit(dense(), tmp_path / "run", plane=PlaneSettings())
