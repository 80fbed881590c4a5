"""An interrupted run, continued, ends with the bits of one that was never interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

import bitlens
from bitlens.errors import BitlensError
from bitlens.objectives.config import PRESETS, CMIMConfig
from bitlens.training.checkpoint import load_checkpoint, save_checkpoint
from bitlens.training.fit import Silent, fit
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder

SOURCE = str(Path(bitlens.__file__).parents[1])


class Stop(Exception):
    """The power cut."""


class StopAt(Silent):
    """Interrupts after an epoch, or after a step of one."""

    def __init__(self, epoch: int, step: int = 0) -> None:
        self.at = (epoch, step)
        self.notes: list[str] = []

    def step(
        self, epoch: int, step: int, loss: float, accuracy: float, bound: float | None
    ) -> None:
        if (epoch, step) == self.at:
            raise Stop

    def epoch(self, row: dict[str, Any]) -> None:
        if (row["epoch"], 0) == self.at:
            raise Stop

    def note(self, text: str) -> None:
        self.notes.append(text)


QUEUE = CMIMConfig(source="queue", negatives=100, width=8, learn_critic=True)
BANK = replace(PRESETS["crd"], negatives=50, width=8)
KINDS = {
    "plain": {"validation": 0.2},
    "adam-decay-warmup": {"weight_decay": 0.01, "warmup": 1.5, "schedule": "cosine"},
    "sgd": {"optimizer": "sgd", "lr": 0.05},
    "cmim-queue": {"objective": "cmim", "weight": 0.1, "cmim": QUEUE},
    "crd-bank": {"objective": "cmim", "weight": 0.5, "cmim": BANK, "teacher": "teacher"},
    "two-step": {"method": "reactnet", "plan": "two-step"},
    "three-step": {"method": "reactnet", "plan": "three-step", "weight_decay": 0.1},
    "three-step-gated": {"plan": "three-step", "model": "resnet8-bnext-poolpad", "validation": 0.2},
    "own-start": {"method": "reactnet", "plan": "own", "start": "begun"},
    "cmim-and-teacher": {
        **{"objective": "cmim", "weight": 0.1, "cmim": QUEUE, "teacher": "teacher"},
        **{"distill": "distribution", "distill_weight": 1.0, "hard_labels": 0.0},
    },
    "irnet-resnet": {"method": "irnet", "model": "resnet8-bireal-poolpad"},
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_interrupted_after_any_epoch_and_in_the_middle(
    quick, tmp_path: Path, kind: str, assert_same_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = quick(epochs=4, augment="flip-crop", **KINDS[kind])
    if recipe.teacher:
        fit(quick(name="teacher", method="float", epochs=1), Path("teacher"))
    if recipe.start:
        fit(quick(name="begun", method="reactnet", epochs=1, seed=5), Path("begun"))
    fit(recipe, Path("whole"))
    for epoch, step in ((1, 3), (1, 0), (2, 4), (2, 0), (3, 2)):
        with pytest.raises(Stop):
            fit(recipe, Path("cut"), resume=True, display=StopAt(epoch, step))
        # Whatever the world did meanwhile must not matter.
        torch.manual_seed(epoch * 10 + step)
    told = StopAt(99)
    fit(recipe, Path("cut"), resume=True, display=told)
    assert told.notes == ["resumed after epoch 2"]
    assert_same_run(Path("whole"), Path("cut"))
    if recipe.validation:
        best = [Path(f, "best.safetensors").read_bytes() for f in ("whole", "cut")]
        assert best[0] == best[1]


def test_interrupted_after_the_last_epoch_before_the_summary(
    quick, tmp_path: Path, assert_same_run
) -> None:
    fit(quick(epochs=2), tmp_path / "whole")
    with pytest.raises(Stop):
        fit(quick(epochs=2), tmp_path / "cut", display=StopAt(2))
    assert not RunFolder(tmp_path / "cut").complete
    fit(quick(epochs=2), tmp_path / "cut", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_resume_into_an_empty_folder_starts(quick, tmp_path: Path, assert_same_run) -> None:
    fit(quick(), tmp_path / "a")
    (tmp_path / "b").mkdir()
    fit(quick(), tmp_path / "b", resume=True)
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_resume_after_a_kill_before_the_first_checkpoint(
    quick, tmp_path: Path, assert_same_run
) -> None:
    fit(quick(), tmp_path / "a")
    with pytest.raises(Stop):
        fit(quick(), tmp_path / "b", display=StopAt(1, 1))
    run = RunFolder(tmp_path / "b")
    # Killed between the metrics row and the checkpoint, or before env.json was written.
    run.append_metrics({"epoch": 1, "train_loss": 123.0})
    run.env_file.unlink()
    fit(quick(), tmp_path / "b", resume=True)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert run.env_file.exists()


def test_a_complete_run_is_returned_at_once(
    quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = fit(quick(), tmp_path / "run")
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()}

    def never(*_: Any) -> None:
        raise AssertionError("nothing is loaded for a run that is done")

    monkeypatch.setattr("bitlens.training.fit.make_feed", never)
    assert fit(quick(), tmp_path / "run", resume=True) == summary
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()} == times


@pytest.fixture
def cut(quick, tmp_path: Path) -> Path:
    with pytest.raises(Stop):
        fit(quick(epochs=3), tmp_path / "cut", display=StopAt(2))
    return tmp_path / "cut"


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_another_recipe_is_refused_by_its_fields(quick, cut: Path) -> None:
    before = content(cut)
    other = quick(epochs=4, method="xnor", cmim=CMIMConfig(width=3))
    with pytest.raises(BitlensError) as caught:
        fit(other, cut, resume=True)
    for said in ("method: 'bireal' -> 'xnor'", "epochs: 3 -> 4", "cmim.width: 128 -> 3", str(cut)):
        assert said in str(caught.value)
    assert content(cut) == before


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other", "shapes"])
def test_a_damaged_checkpoint_is_refused_and_nothing_overwritten(
    quick, cut: Path, damage: str
) -> None:
    path = cut / "state.pt"
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-10])
    elif damage == "flip":
        path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        state = load_checkpoint(path)
        if damage == "other":
            state["recipe"] = "0123456789ab"
        else:
            state["task"]["net.head.bias"] = torch.zeros(7)
        save_checkpoint(path, state)
    before = content(cut)
    with pytest.raises(BitlensError, match=r"state.pt: (the|not a bitlens) checkpoint"):
        fit(quick(epochs=3), cut, resume=True)
    assert content(cut) == before


def test_lost_metrics_are_refused(quick, cut: Path) -> None:
    (cut / "metrics.jsonl").unlink()
    with pytest.raises(BitlensError, match=r"metrics.jsonl, line 1: damaged or missing"):
        fit(quick(epochs=3), cut, resume=True)


def test_another_environment_is_told(quick, cut: Path) -> None:
    env = json.loads((cut / "env.json").read_text())
    (cut / "env.json").write_text(json.dumps(env | {"threads": 7, "torch": "1.0"}))
    told = StopAt(99)
    fit(quick(epochs=3), cut, resume=True, display=told)
    assert any(
        f"threads 7 -> 1, torch 1.0 -> {torch.__version__}: results may differ" in note
        for note in told.notes
    )


def test_a_full_disk_while_saving_stops_and_can_be_resumed(
    quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_same_run
) -> None:
    fit(quick(epochs=3), tmp_path / "whole")
    replace_file = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == "state.pt" and Path(target).exists():
            raise OSError(28, "No space left on device")
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BitlensError, match=r"could not write .*state.pt: No space left .* intact"):
        fit(quick(epochs=3), tmp_path / "cut")
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "cut" / "state.pt")["epoch"] == 1
    assert not list((tmp_path / "cut").glob(".*.tmp"))
    fit(quick(epochs=3), tmp_path / "cut", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def train_and_die(recipe: Recipe, folder: Path, die_at: int) -> None:
    """Train, and be killed with file number `die_at` half written and not yet in its place."""
    torch.set_num_threads(1)
    replace_file, written = os.replace, 0

    def dying(source: Path, target: Path) -> None:
        nonlocal written
        written += 1
        if written == die_at:
            os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        replace_file(source, target)

    os.replace = dying
    fit(recipe, folder, resume=True)


def test_killed_while_writing(quick, tmp_path: Path, assert_same_run) -> None:
    """SIGKILL in the middle of recipe, env, layers, weights, checkpoint and summary."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["bitlens.training.fit"])
    recipe = quick(epochs=2, validation=0.2)
    fit(recipe, tmp_path / "whole")
    folder = tmp_path / "cut"
    moments = {
        "before the first checkpoint": {1: "recipe", 2: "env", 3: "layers", 4: "last", 6: "state"},
        "second epoch": {7: "last"},
        "resuming": {1: "metrics", 2: "layers", 3: "last"},
        "finishing": {7: ""},
        "finished but for": {3: "best", 4: "last", 5: "summary"},
        "never": {99: ""},
    }
    for die_at, name in [item for stage in moments.values() for item in stage.items()]:
        child = context.Process(target=train_and_die, args=(recipe, folder, die_at))
        child.start()
        child.join()
        assert child.exitcode == (-signal.SIGKILL if die_at < 99 else 0)
        child.close()
        halves = [half.name for half in folder.glob(".*.tmp")]
        assert len(halves) == (die_at < 99)
        assert all(half.startswith(f".{name}") for half in halves)
    assert not list(folder.glob(".*.tmp"))
    assert_same_run(tmp_path / "whole", folder)


def command(recipe: Recipe, folder: Path) -> list[str]:
    changed = ["--data", recipe.data, "--augment", "none", "--model", "mlp", "--batch-size", "8"]
    return [
        *(sys.executable, "-m", "bitlens", "train", "demo-plain", *changed),
        *("--epochs", str(recipe.epochs), "--threads", "1", "--out", str(folder), "--resume"),
    ]


def test_a_real_process_is_stopped_at_random_moments(
    quick, tmp_path: Path, assert_same_run
) -> None:
    """SIGTERM, SIGKILL and Ctrl-C, one after the other, each after some more epochs."""
    recipe = quick(epochs=100)
    folder = tmp_path / "cut"
    metrics = folder / "metrics.jsonl"
    draw = random.Random(0)

    def epochs_done() -> int:
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(recipe, folder),
            env={**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        before, running = epochs_done(), start()
        while epochs_done() <= before and running.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.1)
        running.send_signal(number)
        _, said = running.communicate()
        if number == signal.SIGKILL:
            assert running.returncode == -number, said
        else:
            assert running.returncode == 130, said
            assert said.strip() == (
                "bitlens: stopped; finished epochs are kept, the same command with --resume continues"
            )
    stopped = RunFolder(folder)
    assert not stopped.complete
    fit(stopped.recipe(), folder, resume=True)
    fit(stopped.recipe(), tmp_path / "whole")
    assert_same_run(tmp_path / "whole", folder)


def test_two_processes_do_not_train_one_folder(quick, tmp_path: Path) -> None:
    class Rival(StopAt):
        """Tries to train the folder it is being trained in."""

        said = ""

        def epoch(self, row: dict[str, Any]) -> None:
            with pytest.raises(BitlensError) as caught:
                fit(quick(), tmp_path / "run", resume=True)
            Rival.said = str(caught.value)

    fit(quick(), tmp_path / "run", display=Rival(99))
    assert "another process is training in" in Rival.said and str(tmp_path / "run") in Rival.said
