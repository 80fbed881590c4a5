"""What a method costs: figures of a real net against independent counts, each measured once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.methods.bnn import BNN
from bitlens.models import create
from bitlens.models.layers import BinaryLinear
from bitlens.studies.method_table import measure as module
from bitlens.studies.method_table.cost_rows import read_costs, write_costs
from bitlens.studies.method_table.measure import (
    entries,
    measure,
    trained_entries,
    unmeasurable,
)
from bitlens.studies.method_table.step_cost import HALFWAY, optimizer_step, time_steps
from bitlens.tasks.classify import ClassifyTask
from bitlens.training.build import build_net
from bitlens.training.compare import compare
from bitlens.training.feed import Feed
from bitlens.training.recipe import Recipe
from bitlens.training.streams import Streams

RUNTIME = replace(BNN, deploy="runtime", why_runtime="it is told so by this test")
ROUNDS = {"step_rounds": 2, "rounds": 2}


def variants(data: str, *methods: str) -> list[Recipe]:
    float_net = Recipe(
        name="float",
        method="float",
        data=data,
        augment="none",
        model="mlp",
        epochs=1,
        batch_size=32,
    )
    made = [float_net]
    for method in methods:
        plain = replace(float_net, name=method.replace(":", "."), method=method)
        piled = replace(plain, objective="cmim", weight=0.1)
        made += [plain, replace(piled, name=f"{plain.name}-cmim")]
    return made


@pytest.fixture(scope="module")
def recipes(tiny_data: str) -> list[Recipe]:
    return variants(tiny_data, "bnn", f"{__name__}:RUNTIME")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, recipes: list[Recipe]) -> Path:
    """Finished runs of a method that packs and of one that does not, both measured."""
    path = tmp_path_factory.mktemp("measured") / "c"
    compare(recipes, [0], path, baseline="float", resolve=lambda name: None)
    measure(path, entries(recipes), **ROUNDS)
    return path


def test_a_packed_methods_row(folder: Path, recipes: list[Recipe]) -> None:
    net = create("mlp", method="bnn", classes=4, channels=1, image_size=8)
    codes = sum(m.in_features for m in net.modules() if isinstance(m, BinaryLinear))
    row = read_costs(folder)["bnn"]
    summary = json.loads((folder / "float" / "seed0" / "summary.json").read_text())
    assert int(row["float_bytes"]) == summary["bytes_latent"] > int(row["file_bytes"])
    assert (row["deploy"], row["why_runtime"], row["run"]) == ("static", "", "bnn/seed0")
    assert (row["image_size"], row["channels"], row["batch_size"]) == ("8", "1", "32")
    assert int(row["signs_equal"]) % 80 == 0, "as many codes of each of the 80 held-out images"
    assert int(row["signs_equal"]) >= 80 * codes, "every one that a binary layer reads"
    for name in ("step", "cmim_step", "torch"):
        low, ratio, high = (float(row[f"{name}_{part}"]) for part in ("low", "ratio", "high"))
        assert 0 < low <= ratio <= high
    assert float(row["packed_ms"]) > 0 and row["threads"] == "1"
    assert row["recipe_digest"] == recipes[1].digest


def test_the_file_is_as_large_as_packs_own(folder: Path, tmp_path: Path) -> None:
    from bitlens.cli import main

    file = tmp_path / "own.bits"
    given = ("-o", str(file), "--threads", "1")
    assert main(["pack", str(folder / "bnn" / "seed0"), *given]) == 0
    # The command also writes where the net comes from.
    measured = int(read_costs(folder)["bnn"]["file_bytes"])
    assert 0 <= file.stat().st_size - measured < 600


def test_a_runtime_method_has_a_step_and_no_file(folder: Path) -> None:
    row = read_costs(folder)[f"{__name__}:RUNTIME"]
    assert (row["deploy"], row["why_runtime"]) == ("runtime", RUNTIME.why_runtime)
    assert float(row["step_ratio"]) > 0 and row["float_bytes"]
    for column in ("file_bytes", "packed_ms", "torch_ratio", "kernel", "rounds"):
        assert row[column] == ""


def test_what_is_measured_is_not_measured_again(
    folder: Path, recipes: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_costs(folder)

    def never(*given: object) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr(module, "_measure", never)
    assert measure(folder, entries(recipes), **ROUNDS) == before == read_costs(folder)


def test_what_was_measured_for_another_recipe_is_measured_again(
    folder: Path, recipes: list[Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_costs(folder)
    stale = {"bnn": rows["bnn"] | {"recipe_digest": "0123456789ab", "step_ms": "1"}}
    write_costs(tmp_path, rows | stale)
    measured = []

    def again(_: Path, name: str, *rest: object) -> dict[str, str]:
        measured.append(name)
        assert name not in read_costs(tmp_path), "dropped before it is measured"
        return rows[name]

    monkeypatch.setattr(module, "_measure", again)
    assert measure(tmp_path, entries(recipes), **ROUNDS) == rows == read_costs(tmp_path)
    assert measured == ["bnn"]


def test_stopping_keeps_what_was_measured(
    folder: Path, recipes: list[Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, threads = read_costs(folder), torch.get_num_threads()

    def second_stops(_: Path, name: str, *rest: object) -> dict[str, str]:
        if name != "bnn":
            raise KeyboardInterrupt
        return rows[name]

    monkeypatch.setattr(module, "_measure", second_stops)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, entries(recipes), **ROUNDS)
    assert read_costs(tmp_path) == {"bnn": rows["bnn"]}
    assert torch.get_num_threads() == threads


def test_one_that_fails_is_named_after_the_others(
    folder: Path, recipes: list[Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_costs(folder)

    def first_fails(_: Path, name: str, *rest: object) -> dict[str, str]:
        if name == "bnn":
            raise BitlensError("a sign differs")
        return rows[name]

    monkeypatch.setattr(module, "_measure", first_fails)
    with pytest.raises(BitlensError, match="could not measure the cost of bnn: a sign differs"):
        measure(tmp_path, entries(recipes), **ROUNDS)
    assert [*read_costs(tmp_path)] == [f"{__name__}:RUNTIME"]


def test_a_run_that_is_not_there_is_named(recipes: list[Recipe], tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match=r"bnn: .*bnn/seed0: the run is not finished"):
        measure(tmp_path, entries(recipes[:3]), **ROUNDS)


def test_a_step_is_the_training_step(recipes: list[Recipe]) -> None:
    """Latent weights move and are clamped, half-way through the schedules."""
    recipe = replace(recipes[1], lr=50.0)
    feed = Feed(recipe, torch.device("cpu"))
    net = build_net(recipe, feed.data, torch.device("cpu"))
    before = [p.detach().clone() for p in net.parameters()]
    task = ClassifyTask(net, None, weight=0.0)
    step = optimizer_step(recipe, task, next(feed.epoch(Streams(0))))
    step()
    assert any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert float(net.get_buffer("bitlens_progress")) == HALFWAY
    latent = [m.weight for m in net.modules() if isinstance(m, BinaryLinear)]
    assert latent and all(w.abs().max() == 1.0 for w in latent), "bnn's bound, after a large step"


def test_ratios_are_to_the_reference_of_the_same_rounds() -> None:
    def spin(turns: int) -> Callable[[], None]:
        def work() -> None:
            sum(range(turns))

        return work

    steps = {"one": spin(20_000), "four": spin(80_000)}
    found = time_steps(steps, {"one": "one", "four": "one"}, 9)
    assert found["one"].ratio == found["one"].low == found["one"].high == 1.0
    assert found["four"].ratio > 1 and found["four"].rounds == 9


def test_what_a_folder_holds_can_be_measured_later(folder: Path, tmp_path: Path) -> None:
    found = trained_entries(folder)
    assert set(found) == {"bnn", f"{__name__}:RUNTIME"}
    assert found["bnn"].plain.name == "bnn" and found["bnn"].cmim.name == "bnn-cmim"
    half = Path(shutil.copytree(folder, tmp_path / "half"))
    (half / "bnn-cmim" / "seed0" / "summary.json").unlink()
    assert set(trained_entries(half)) == {f"{__name__}:RUNTIME"}
    assert unmeasurable(folder) == {}
    assert unmeasurable(half) == {
        "bnn": "its runs of seed 0, plain and with CMIM, are not both finished"
    }
    (half / "float" / "seed0" / "summary.json").unlink()
    assert trained_entries(half) == {}
    reason = "the float net's run of seed 0 is not finished"
    assert unmeasurable(half) == dict.fromkeys(("bnn", f"{__name__}:RUNTIME"), reason)
