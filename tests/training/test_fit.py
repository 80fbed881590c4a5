"""One training run, from recipe to summary, and what its files say."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from bitlens.data import load
from bitlens.errors import BitlensError
from bitlens.methods import METHODS
from bitlens.models.layers import binary_layers
from bitlens.objectives.config import PRESETS, CMIMConfig
from bitlens.training import fit as fit_module
from bitlens.training.build import load_run_net
from bitlens.training.checkpoint import load_checkpoint
from bitlens.training.feed import Feed
from bitlens.training.fit import Silent, fit
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder

CPU = torch.device("cpu")
BINARY = ["hidden.0.linear", "hidden.1.linear"]
LATENT = CMIMConfig(loss="infonce", width=8)


class Recorder(Silent):
    """Keeps what the loop tells, and each epoch's weights as they lie on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.begun: list[tuple[int, int]] = []
        self.ended = 0
        self.steps: list[tuple[int, int]] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def begin(self, epochs: int, steps: int) -> None:
        self.begun.append((epochs, steps))

    def end(self) -> None:
        self.ended += 1

    def step(
        self, epoch: int, step: int, loss: float, accuracy: float, bound: float | None
    ) -> None:
        self.steps.append((epoch, step))

    def epoch(self, row: dict[str, Any]) -> None:
        self.weights.append(load_file(self.folder / "last.safetensors"))

    def note(self, text: str) -> None:
        self.notes.append(text)


ROW = [
    *("epoch", "stage", "step", "t", "lr", "train_loss", "train_accuracy"),
    *("objective_loss", "distill_loss", "bound", "ceiling", "bound_valid", "bound_layers"),
    *("eval_split", "eval_loss", "metric", "eval_accuracy", "eval_metrics"),
    *("flip_rate", "flip_rate_layers"),
    *("code_entropy", "code_entropy_layers", "seconds", "images_per_second"),
]
SUMMARY = [
    *("schema", "complete", "name", "seed", "digest", "train_images", "test_images", "data_note"),
    *("metric", "test_accuracy", "test_metrics", "test_loss"),
    *("test_accuracy_running", "validation_accuracy"),
    *("epochs", "seconds", "step_ms"),
    *("parameters", "bytes_latent", "bytes_packed", "bound", "ceiling", "bound_valid"),
]


def test_the_run_folder_is_complete_and_true(quick, rows, tmp_path: Path) -> None:
    recipe = quick(objective="cmim", weight=0.1, cmim=LATENT, epochs=3)
    folder = tmp_path / "run"
    told = Recorder(folder)
    summary = fit(recipe, folder, display=told)
    assert sorted(os.listdir(folder)) == [
        *(".lock", "env.json", "last.safetensors", "layers.json", "metrics.jsonl"),
        *("recipe.json", "state.pt", "summary.json"),
    ]
    assert Recipe.from_json(json.loads((folder / "recipe.json").read_text())) == recipe
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert list(summary) == SUMMARY
    metrics = rows(folder)
    assert [list(row) for row in metrics] == [ROW] * 3
    assert told.begun == [(3, 7)] and told.ended == 1 and told.notes == []
    assert told.steps == [(epoch, step) for epoch in (1, 2, 3) for step in range(1, 8)]

    assert [row["epoch"] for row in metrics] == [1, 2, 3]
    assert [row["step"] for row in metrics] == [7, 14, 21]
    assert [row["t"] for row in metrics] == [pytest.approx(k / 3) for k in (1, 2, 3)]
    assert {row["eval_split"] for row in metrics} == {"test"}
    assert {row["stage"] for row in metrics} == {1}
    for row in metrics:
        assert row["metric"] == "accuracy"
        assert row["eval_metrics"] == {"accuracy": row["eval_accuracy"]}
    assert [row["lr"] for row in metrics] == [
        pytest.approx(0.01 * (1 - s / 21)) for s in (6, 13, 20)
    ]
    for row in metrics:
        assert row["flip_rate_layers"].keys() == row["bound_layers"].keys() == set(BINARY)
        assert row["code_entropy"] == pytest.approx(
            sum(row["code_entropy_layers"].values()) / len(BINARY)
        )
        assert row["ceiling"] == pytest.approx(math.log(32), rel=1e-6)
        assert row["bound"] <= row["ceiling"] and row["bound_valid"] is True
        assert row["objective_loss"] == pytest.approx(row["ceiling"] - row["bound"], rel=1e-4)
    assert summary["seconds"] == pytest.approx(sum(row["seconds"] for row in metrics))
    assert summary["step_ms"] == pytest.approx(1000 * summary["seconds"] / 21)
    for key in ("bound", "ceiling", "bound_valid"):
        assert summary[key] == metrics[-1][key]

    # Flips and sizes, from the files alone.
    counted = []
    for before, after in zip(told.weights, told.weights[1:], strict=False):
        flipped = [((before[f"{n}.weight"] >= 0) != (after[f"{n}.weight"] >= 0)) for n in BINARY]
        counted.append(float(torch.cat([f.flatten() for f in flipped]).double().mean()))
    assert [row["flip_rate"] for row in metrics[1:]] == [pytest.approx(c) for c in counted]
    floats = {"stem.linear.weight": 64 * 256, "head.weight": 256 * 4, "head.bias": 4}
    norms = 3 * 2 * 256
    slopes = sum(v.numel() for k, v in told.weights[0].items() if ".act." in k)
    other = sum(floats.values()) + norms + slopes
    assert summary["parameters"] == 2 * 256 * 256 + other
    assert summary["bytes_latent"] == 4 * summary["parameters"]
    assert summary["bytes_packed"] == 2 * (256 * 256 // 8 + 4 * 256) + 4 * other


def test_the_test_accuracy_is_that_of_the_last_weights(quick, tmp_path: Path) -> None:
    recipe = quick(epochs=3, method="reactnet")
    summary = fit(recipe, tmp_path / "run")
    data = load(recipe.data)
    net = load_run_net(tmp_path / "run", data, CPU).eval()
    hits, loss = 0, 0.0
    for image, label in zip(data.test.images, data.test.labels, strict=True):
        pixels = (image[None].float() / 255 - data.mean[0]) / data.std[0]
        with torch.no_grad():
            logits = net(pixels)
        hits += int(logits.argmax() == label)
        loss += float(F.cross_entropy(logits, label[None]))
    assert summary["test_accuracy"] == pytest.approx(hits / 80)
    assert summary["test_loss"] == pytest.approx(loss / 80, rel=1e-4)
    assert hits / 80 > 0.5, "four classes: chance is 0.25"


def test_the_loss_decreases(quick, rows, tmp_path: Path) -> None:
    fit(quick(epochs=5, model="resnet8-bireal-poolpad"), tmp_path / "run")
    losses = [row["train_loss"] for row in rows(tmp_path / "run")]
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < 0.5 * math.log(4)


def test_the_float_twin(quick, rows, tmp_path: Path) -> None:
    summary = fit(quick(method="float"), tmp_path / "run")
    for row in rows(tmp_path / "run"):
        assert row["flip_rate"] is row["code_entropy"] is row["bound"] is row["bound_valid"] is None
        assert row["flip_rate_layers"] == row["code_entropy_layers"] == {}
    assert summary["bytes_packed"] == summary["bytes_latent"]
    layers = json.loads((tmp_path / "run" / "layers.json").read_text())
    assert {layer["bits"] for layer in layers} == {32}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_with_cmim(quick, rows, tmp_path: Path, method: str) -> None:
    recipe = quick(
        method=method, epochs=1, objective="cmim", weight=0.1, model="resnet8-bireal-poolpad"
    )
    summary = fit(recipe, tmp_path / "run")
    (row,) = rows(tmp_path / "run")
    assert all(math.isfinite(row[key]) for key in ("train_loss", "eval_loss", "bound"))
    assert row["flip_rate"] > 0 and 0 <= summary["test_accuracy"] <= 1
    layers = json.loads((tmp_path / "run" / "layers.json").read_text())
    assert [layer["bits"] for layer in layers] == [32, 1, 1, 1, 1, 1, 1, 32]
    assert {layer["why"] for layer in layers if layer["bits"] == 1} == {f"binary ({method})"}


def test_the_two_step_plan(quick, rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool, int, float]] = []
    step = fit_module._Run._step

    def watched(self: Any, *arguments: Any) -> None:
        binary = {layer.binary_weights for layer in binary_layers(self.net).values()}
        moments = len(self.optimizer.state)
        decay = self.optimizer.param_groups[0]["weight_decay"]
        seen.append((arguments[3], binary.pop(), moments, decay))
        step(self, *arguments)

    monkeypatch.setattr(fit_module._Run, "_step", watched)
    fit(quick(plan="two-step", method="reactnet", epochs=4), tmp_path / "run")
    assert [row["stage"] for row in rows(tmp_path / "run")] == [1, 1, 2, 2]
    assert [row["t"] for row in rows(tmp_path / "run")] == [0.5, 1.0, 0.5, 1.0]
    assert {(epoch, binary) for epoch, binary, *_ in seen} == {
        *((1, False), (2, False), (3, True), (4, True))
    }
    fresh = [epoch for epoch, _, moments, _ in seen if moments == 0]
    assert fresh == [1, 3], "a new optimizer at the first step of each stage, and only there"
    assert {decay for epoch, *_, decay in seen if epoch < 3} == {1e-5}
    assert {decay for epoch, *_, decay in seen if epoch > 2} == {0.0}
    first_of_stage = [row["lr"] for row in rows(tmp_path / "run")]
    assert first_of_stage[0] == pytest.approx(first_of_stage[2])


def test_the_three_step_plan(quick, rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, set[tuple[bool, bool, float]]] = {}
    fresh: list[int] = []
    step = fit_module._Run._step

    def watched(self: Any, *arguments: Any) -> None:
        epoch, decay = arguments[3], self.optimizer.param_groups[0]["weight_decay"]
        for layer in binary_layers(self.net).values():
            precision = (layer.binary_weights, layer.binary_activations, decay)
            seen.setdefault(epoch, set()).add(precision)
        if not self.optimizer.state:
            fresh.append(epoch)
        step(self, *arguments)

    monkeypatch.setattr(fit_module._Run, "_step", watched)
    told = Recorder(tmp_path / "run")
    fit(quick(plan="three-step", method="reactnet", epochs=3), tmp_path / "run", display=told)
    assert seen == {1: {(False, False, 1e-5)}, 2: {(False, True, 1e-5)}, 3: {(True, True, 0.0)}}
    assert fresh == [1, 2, 3]
    table = rows(tmp_path / "run")
    assert [row["stage"] for row in table] == [1, 2, 3]
    assert table[0]["code_entropy"] is None and table[0]["code_entropy_layers"] == {}
    assert 0 < table[1]["code_entropy"] <= 1
    assert table[1]["code_entropy_layers"].keys() == set(BINARY)


def test_the_first_stage_clips_and_the_second_keeps_what_it_learned(quick, tmp_path: Path) -> None:
    """The latent weights go from stage to stage, and only their signs are used at the end."""
    told = Recorder(tmp_path / "run")
    recipe = quick(plan="three-step", epochs=3, lr=1e-9)
    fit(recipe, tmp_path / "run", display=told)
    first, _, last = told.weights
    for name in BINARY:
        torch.testing.assert_close(
            first[f"{name}.weight"], last[f"{name}.weight"], atol=1e-6, rtol=0
        )


def test_only_a_binary_net_can_be_the_best(quick, rows, tmp_path: Path) -> None:
    recipe = quick(plan="three-step", epochs=3, validation=0.25, lr=0.03)
    told = Recorder(tmp_path / "run")
    fit(recipe, tmp_path / "run", display=told)
    best = load_file(tmp_path / "run" / "best.safetensors")
    assert torch.equal(best["head.weight"], told.weights[-1]["head.weight"])
    assert not torch.equal(best["head.weight"], told.weights[0]["head.weight"])


def test_no_plane_where_there_are_no_signs(quick, tmp_path: Path) -> None:
    recipe = quick(plan="three-step", epochs=3)
    with pytest.raises(BitlensError, match="stage 1 of plan='three-step' takes none"):
        fit(recipe, tmp_path / "run", plane=PlaneSettings())
    assert not (tmp_path / "run").exists()


def test_a_run_starts_from_another(quick, tmp_path: Path) -> None:
    """With a learning rate of nearly nothing a run ends where it began."""
    fit(quick(name="first", method="reactnet"), tmp_path / "first")
    begun = load_file(tmp_path / "first" / "last.safetensors")
    for start in (tmp_path / "first", tmp_path / "first" / "last.safetensors"):
        folder = tmp_path / start.name.replace(".", "-") / "second"
        fit(quick(method="reactnet", seed=3, lr=1e-9, epochs=1, start=str(start)), folder)
        ended = load_file(folder / "last.safetensors")
        assert ended.keys() == begun.keys()
        for name, value in ended.items():
            if "running_" not in name and "num_batches" not in name:
                torch.testing.assert_close(value, begun[name], rtol=0, atol=1e-6)


def test_a_start_from_the_float_twin_or_from_elsewhere(quick, tmp_path: Path) -> None:
    """Weights from another program know nothing of training progress; nothing else may be absent."""
    model = {"model": "resnet8-bireal-poolpad", "epochs": 1}
    fit(quick(name="twin", method="float", **model), tmp_path / "twin")
    fit(quick(start=str(tmp_path / "twin"), lr=1e-9, **model), tmp_path / "net")
    twin, net = (load_file(tmp_path / k / "last.safetensors") for k in ("twin", "net"))
    assert set(net) - set(twin) == {"bitlens_progress"}
    for name in ("stages.0.0.conv.weight", "head.bias"):
        torch.testing.assert_close(net[name], twin[name], rtol=0, atol=1e-6)
    recipe = quick(start=str(tmp_path / "twin"), method="reactnet", **model)
    with pytest.raises(
        BitlensError,
        match=r"27 missing: stem_act.shift_in.* and 24 more; it takes weights of the same",
    ) as caught:
        fit(recipe, tmp_path / "other")
    assert "unexpected" not in str(caught.value) and not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": "nowhere"}, "start='nowhere' is neither a .safetensors file nor the folder"),
        ({"start": "nowhere.safetensors"}, "start='nowhere.safetensors': there is no such file"),
        ({"start": "unfinished"}, "start='unfinished': the run is not finished; resume it first"),
        (
            {"start": "renamed.safetensors"},
            r"1 missing: hidden.0.linear.weight; 1 unexpected: hidden.0.linear.weights; it",
        ),
        (
            {"start": "flat.safetensors"},
            r"1 of another shape: hidden.0.linear.weight 65536x1 instead of 256x256; it",
        ),
    ],
)
def test_a_start_that_does_not_fit(
    quick, tmp_path: Path, change: dict, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ReActNet's program renamed and reshaped the weights between its steps and dropped them."""
    monkeypatch.chdir(tmp_path)
    fit(quick(epochs=1), Path("unfinished"))
    weights = load_file("unfinished/last.safetensors")
    RunFolder(Path("unfinished")).summary_file.unlink()
    name = "hidden.0.linear.weight"
    renamed = {key: value for key, value in weights.items() if key != name}
    save_file(renamed | {f"{name}s": weights[name]}, "renamed.safetensors")
    save_file(renamed | {name: weights[name].reshape(-1, 1)}, "flat.safetensors")
    with pytest.raises(BitlensError, match=said):
        fit(quick(**change), Path("run"))
    assert not Path("run").exists()


def test_a_resumed_run_does_not_start_again(quick, tmp_path: Path) -> None:
    class Stop(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            raise KeyboardInterrupt

    fit(quick(name="first", epochs=1), tmp_path / "first")
    recipe = quick(start=str(tmp_path / "first"))
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, tmp_path / "run", display=Stop())
    (tmp_path / "first" / "last.safetensors").unlink()
    fit(recipe, tmp_path / "run", resume=True)


def test_cmim_and_a_teacher_together(quick, rows, tmp_path: Path, teacher: Path) -> None:
    recipe = quick(
        **{"objective": "cmim", "weight": 0.1, "cmim": LATENT, "teacher": str(teacher)},
        **{"distill": "distribution", "distill_weight": 1.0, "hard_labels": 0.0},
    )
    fit(recipe, tmp_path / "run")
    row = rows(tmp_path / "run")[-1]
    assert row["bound_valid"] is True and row["bound"] > 0
    total = 0.1 * row["objective_loss"] + row["distill_loss"]
    assert row["train_loss"] == pytest.approx(total, rel=1e-5)


def test_attention_is_matched_in_residual_nets_only(quick, rows, tmp_path: Path) -> None:
    model = {"model": "resnet8-bireal-poolpad", "epochs": 1}
    fit(quick(name="twin", method="float", **model), tmp_path / "twin")
    taught = {"distill": "attention", "distill_weight": 1.0, "teacher": str(tmp_path / "twin")}
    fit(quick(**taught, **model), tmp_path / "run")
    assert 0 < rows(tmp_path / "run")[0]["distill_loss"] < 6
    with pytest.raises(BitlensError, match="names no blocks"):
        fit(
            quick(**taught, model="mlp"),
            tmp_path / "other",
            find_teacher=lambda _: tmp_path / "twin",
        )


def test_validation_chooses_the_best_and_the_test_set_is_seen_only_at_the_end(
    quick, rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    evaluation = Feed.evaluation

    def watched(self: Any, images: Any) -> Any:
        looked.append(len(images))
        return evaluation(self, images)

    monkeypatch.setattr(Feed, "evaluation", watched)
    told = Recorder(tmp_path / "run")
    recipe = quick(validation=0.25, epochs=4)
    summary = fit(recipe, tmp_path / "run", display=told)
    assert looked.index(80) == 4, "one look an epoch"
    accuracies = [row["eval_accuracy"] for row in rows(tmp_path / "run")]
    assert {row["eval_split"] for row in rows(tmp_path / "run")} == {"validation"}
    assert summary["train_images"] == 180
    best = load_file(tmp_path / "run" / "best.safetensors")
    expected = told.weights[accuracies.index(max(accuracies))]
    kept = [name for name in expected if "running_" not in name]
    assert all(torch.equal(best[name], expected[name]) for name in kept)
    assert len(kept) < len(expected)

    feed = Feed(recipe, CPU)
    net = load_run_net(tmp_path / "run", feed.data, CPU).eval()
    images = (feed.held.images.float() / 255 - feed.data.mean[0]) / feed.data.std[0]
    with torch.no_grad():
        hits = (net(images).argmax(1) == feed.held.labels).float().mean()
    assert summary["validation_accuracy"] == pytest.approx(float(hits))


def test_the_norms_are_settled_in_order_at_the_end(quick, tmp_path: Path) -> None:
    """The weights on the disk carry the statistics of evaluation, and only those have changed."""
    told = Recorder(tmp_path / "run")
    recipe = quick(epochs=2)
    fit(recipe, tmp_path / "run", display=told)
    last = load_file(tmp_path / "run" / "last.safetensors")
    changed = {
        name for name, value in told.weights[-1].items() if not torch.equal(last[name], value)
    }
    assert changed and all("running_" in name for name in changed)
    feed = Feed(recipe, CPU)
    net = load_run_net(tmp_path / "run", feed.data, CPU).eval()
    norm = net.get_submodule("stem.norm")
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        for batch in feed.calibration():
            net(batch)
    torch.testing.assert_close(norm.running_mean, torch.cat(seen).mean(0), rtol=1e-4, atol=1e-5)


@pytest.fixture
def teacher(quick, tmp_path: Path) -> Path:
    fit(quick(name="teacher", method="float"), tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.mark.parametrize("objective", ["logit-kd", "distribution", "crd", "released"])
def test_objectives_with_a_teacher(
    quick, rows, tmp_path: Path, teacher: Path, objective: str
) -> None:
    before = load_file(teacher / "last.safetensors")
    mi = objective in PRESETS
    recipe = quick(
        objective="cmim" if mi else "none",
        weight=0.5 if mi else 0.0,
        distill="none" if mi else objective,
        distill_weight=0.0 if mi else 0.5,
        hard_labels=0.0 if objective == "distribution" else 1.0,
        cmim=replace(PRESETS[objective], negatives=64) if mi else CMIMConfig(),
        teacher=str(teacher),
    )
    summary = fit(recipe, tmp_path / "student")
    row = rows(tmp_path / "student")[-1]
    assert math.isfinite(row["objective_loss" if mi else "distill_loss"])
    assert row["distill_loss" if mi else "objective_loss"] is None
    assert row["bound_valid"] is (False if mi else None)
    assert (row["bound"] is None) is not mi
    assert summary["test_accuracy"] > 0.3
    state = load_checkpoint(tmp_path / "student" / "state.pt")
    assert not any("teacher" in name for name in state["task"]), "a teacher is not saved again"
    after = load_file(teacher / "last.safetensors")
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_teacher_that_is_not_there_or_not_finished(quick, tmp_path: Path, teacher: Path) -> None:
    recipe = quick(distill="logit-kd", distill_weight=1.0, teacher=str(tmp_path / "none"))
    with pytest.raises(BitlensError, match="none holds no run"):
        fit(recipe, tmp_path / "student")
    RunFolder(teacher).summary_file.unlink()
    with pytest.raises(BitlensError, match="the run is not finished; resume it first"):
        fit(replace(recipe, teacher=str(teacher)), tmp_path / "student")
    assert not (tmp_path / "student").exists(), "nothing is left of a run that could not begin"


def test_a_teacher_of_weight_zero_is_not_asked_for(quick, tmp_path: Path) -> None:
    def never(recipe: Recipe) -> Path:
        raise AssertionError("nobody needs this teacher")

    recipe = quick(distill="logit-kd", distill_weight=0.0, teacher="anything", epochs=1)
    fit(recipe, tmp_path / "run", find_teacher=never)


def test_same_seed_same_bits_other_seed_other_bits(quick, tmp_path: Path, assert_same_run) -> None:
    recipe = quick(objective="cmim", weight=0.1, method="reactnet")
    fit(recipe, tmp_path / "a")
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    fit(recipe, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), before), "torch's own stream is not touched"
    assert_same_run(tmp_path / "a", tmp_path / "b")
    fit(recipe.with_seed(1), tmp_path / "c")
    a, c = (load_file(tmp_path / k / "last.safetensors") for k in "ac")
    assert not torch.equal(a["head.weight"], c["head.weight"])


def test_an_existing_run_is_refused_before_anything_else(
    quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(quick(epochs=1), tmp_path / "run")
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()}

    def never(recipe: Recipe) -> Path:
        raise AssertionError("no teacher is trained for a refused run")

    recipe = quick(distill="logit-kd", distill_weight=1.0, teacher="x")
    with pytest.raises(BitlensError, match="already holds a run; continue it with --resume"):
        fit(recipe, tmp_path / "run", find_teacher=never)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()} == times


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model": "resnet9"}, "unknown model 'resnet9'; did you mean resnet"),
        ({"augment": "none!"}, "unknown augmentation"),
        ({"model": "resnet18-imagenet-bireal-fp1x1"}, "image_size"),
        ({"objective": "cmim", "weight": 1.0, "cmim": CMIMConfig(layers="hiden")}, "matches no"),
        ({"batch_size": 500}, "exceeds the 240 training images"),
    ],
)
def test_a_recipe_that_cannot_be_built_leaves_no_folder(
    quick, tmp_path: Path, wrong: dict, said: str
) -> None:
    with pytest.raises(BitlensError, match=said):
        fit(quick(**wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_divergence_names_step_and_place_and_keeps_the_checkpoint(
    quick, rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Poison(Silent):
        """Spoils one layer after the second epoch."""

        net: Any = None

        def epoch(self, row: dict[str, Any]) -> None:
            if row["epoch"] == 2:
                with torch.no_grad():
                    Poison.net.get_parameter("hidden.1.norm.bias")[0] = math.nan

    build = fit_module.build_task

    def watched(*arguments: Any) -> Any:
        task = build(*arguments)
        Poison.net = task.net
        return task

    monkeypatch.setattr(fit_module, "build_task", watched)
    with pytest.raises(BitlensError) as caught:
        fit(quick(epochs=4), tmp_path / "run", display=Poison())
    assert "epoch 3, step 15: parameter 'net.hidden.1.norm.bias' holds NaN" in str(caught.value)
    assert load_checkpoint(tmp_path / "run" / "state.pt")["epoch"] == 2
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [1, 2]
    assert not RunFolder(tmp_path / "run").complete
    assert not list((tmp_path / "run").glob(".*.tmp"))
    monkeypatch.undo()
    assert fit(quick(epochs=4), tmp_path / "run", resume=True)["complete"] is True


@pytest.mark.parametrize("objective", [{}, {"objective": "cmim", "weight": 0.1}])
def test_an_absurd_learning_rate(quick, tmp_path: Path, objective: dict) -> None:
    recipe = quick(lr=1e30, optimizer="sgd", schedule="constant", method="float")
    if objective:
        recipe = quick(lr=1e30, optimizer="sgd", schedule="constant", **objective)
    with pytest.raises(BitlensError, match=r"not finite at epoch 1, step \d+: .*(lr|lower)"):
        fit(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "state.pt").exists()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_divergence_in_the_last_step_is_not_saved(
    quick, rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the last step of an epoch is fine, the weights after it are not."""
    step = fit_module._Run._step

    def poisoned(self: Any, *arguments: Any) -> None:
        step(self, *arguments)
        if arguments[3:] == (2, 7):
            with torch.no_grad():
                self.net.get_parameter("head.bias")[0] = math.inf

    monkeypatch.setattr(fit_module._Run, "_step", poisoned)
    with pytest.raises(BitlensError, match=r"epoch 2, step 14: parameter 'head.bias' holds NaN or"):
        fit(quick(epochs=3), tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "state.pt")["epoch"] == 1
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [1]


def test_a_dead_code_is_told_once(quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = fit_module.build_task

    def dead(*arguments: Any) -> Any:
        task = build(*arguments)
        task.net.get_submodule("stem").register_forward_hook(lambda m, i, out: out.abs() + 1)
        return task

    monkeypatch.setattr(fit_module, "build_task", dead)
    told = Recorder(tmp_path / "run")
    fit(quick(epochs=2), tmp_path / "run", display=told)
    assert [note.split("'")[1] for note in told.notes] == BINARY, "each layer once, not each epoch"
    assert "'hidden.0.linear' receives one constant sign per channel" in told.notes[0]
