"""Folders put together: copies must agree, budgets must be one, and everything keeps its order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.studies.method_table.cost_rows import COLUMNS, FILE, read_costs, write_costs
from bitlens.studies.method_table.merge import merge
from bitlens.training.compare import compare
from bitlens.training.comparison_table import COLUMNS as RUN_COLUMNS
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder

Row = dict[str, str]


def variants(data: str, *methods: str) -> list[Recipe]:
    shared = Recipe(
        name="float",
        method="float",
        data=data,
        augment="none",
        model="mlp",
        epochs=1,
        batch_size=32,
    )
    return [
        shared,
        *(replace(shared, name=method, method=method) for method in methods),
        *(
            replace(shared, name=f"{m}-cmim", method=m, objective="cmim", weight=0.1)
            for m in methods
        ),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_data: str) -> Path:
    """float, bnn and xnor plain and with CMIM, from two seeds."""
    folder = tmp_path_factory.mktemp("trained") / "one"
    recipes = variants(tiny_data, "xnor", "bnn")
    compare(recipes, [1, 0], folder, baseline="float", resolve=lambda name: None)
    return folder


@pytest.fixture
def pair(trained: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same in two folders: bnn in one, xnor in the other, the float net in both."""
    folders = tmp_path / "a", tmp_path / "b"
    for folder, other in zip(folders, ("xnor", "bnn"), strict=True):
        shutil.copytree(trained, folder)
        for name in (other, f"{other}-cmim"):
            shutil.rmtree(folder / name)
    return folders


@pytest.fixture
def trained_cost(trained: Path, cost: Callable[..., Row]) -> Callable[..., Row]:
    """Costs of the trained recipes."""

    def make(method: str, **cells: str) -> Row:
        recipe = RunFolder(trained / method / "seed0").recipe()
        return cost(method, recipe_digest=recipe.digest, data=recipe.data) | cells

    return make


def change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_rows_are_those_of_comparison_csv_in_the_tables_order(trained: Path) -> None:
    runs = merge([trained]).runs
    assert [(row["method"], row["objective"], row["seed"]) for row in runs] == [
        (method, objective, seed)
        for method in ("float", "bnn", "xnor")
        for objective in ("none", "cmim")
        for seed in ("0", "1")
        if (method, objective) != ("float", "cmim")
    ]
    lines = (trained / "comparison.csv").read_text().splitlines()
    assert lines[0] == ",".join(RUN_COLUMNS)
    assert sorted(",".join(row.values()) for row in runs) == sorted(lines[1:])


def test_folders_join_and_copies_count_once(pair: tuple[Path, Path], trained: Path) -> None:
    def content(folders: list[Path]) -> list[Row]:
        return [dict(row) for row in merge(folders).runs]

    assert content(list(pair)) == content([trained]) == content([pair[0].parent])
    assert content([pair[0], pair[0]]) == content([pair[0]])


def test_a_run_that_is_not_finished_is_left_out(pair: tuple[Path, Path]) -> None:
    (pair[0] / "bnn-cmim" / "seed1" / "summary.json").unlink()
    runs = merge(list(pair)).runs
    assert sum(row["variant"] == "bnn-cmim" for row in runs) == 1


def test_copies_that_disagree_are_refused(pair: tuple[Path, Path]) -> None:
    change(pair[1] / "float" / "seed0" / "summary.json", test_accuracy=0.123456)
    with pytest.raises(
        BitlensError, match=r"disagree: test_accuracy is .* and 0\.123456; leave one"
    ):
        merge(list(pair))


def test_copies_may_differ_in_time_and_machine(pair: tuple[Path, Path]) -> None:
    change(pair[1] / "float" / "seed0" / "summary.json", seconds=1e6, step_ms=99.0)
    change(pair[1] / "float" / "seed0" / "env.json", cpu="another", commit="abc")
    assert merge(list(pair)).runs[0]["cpu"] != "another", "the first folder's row stays"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 0.5}, "lr: 0.002 -> 0.5"),
        ({"epochs": 3}, "epochs: 1 -> 3"),
        ({"train_images": 100}, "train_images: 0 -> 100"),
        ({"batch_size": 16}, "batch_size: 32 -> 16"),
    ],
)
def test_budgets_are_never_mixed(pair: tuple[Path, Path], changed: dict, said: str) -> None:
    shutil.rmtree(pair[1] / "float")
    for file in pair[1].glob("xnor*/seed*/recipe.json"):
        change(file, **changed)
    with pytest.raises(BitlensError, match=f"different budgets .*{said}"):
        merge(list(pair))


def test_cmim_settings_are_one_too(pair: tuple[Path, Path]) -> None:
    for file in pair[1].glob("xnor-cmim/seed*/recipe.json"):
        change(file, weight=0.3)
    with pytest.raises(BitlensError, match=r"different budgets \(weight: 0.1 -> 0.3\)"):
        merge(list(pair))


def test_cmim_of_another_budget_than_plain_is_refused(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "c"))
    for file in folder.glob("*-cmim/seed*/recipe.json"):
        change(file, lr=0.5)
    with pytest.raises(BitlensError, match=r"different budgets \(lr: 0.002 -> 0.5\)"):
        merge([folder])


def test_no_comparison_no_table(tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match="no comparison in it"):
        merge([tmp_path])
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(BitlensError, match="no finished run in"):
        merge([tmp_path])


def test_the_later_measurement_of_a_cost_counts(
    pair: tuple[Path, Path], trained_cost: Callable[..., Row]
) -> None:
    write_costs(pair[0], {"bnn": trained_cost("bnn", started="2026-01-02", step_ratio="2")})
    early = trained_cost("bnn", started="2026-01-01", step_ratio="3")
    write_costs(pair[1], {"xnor": trained_cost("xnor", started="2026-01-01"), "bnn": early})
    costs = merge([*pair[::-1]]).costs
    assert [(row["method"], row["step_ratio"]) for row in costs] == [
        ("bnn", "2"),
        ("xnor", "1.187"),
    ]


def test_costs_of_a_recipe_that_nobody_trained_are_refused(
    pair: tuple[Path, Path], trained_cost: Callable[..., Row]
) -> None:
    write_costs(pair[0], {"bnn": trained_cost("bnn", recipe_digest="0123456789ab")})
    with pytest.raises(
        BitlensError, match=r"cost of bnn on .* \(digest 0123456789ab\); measure it"
    ):
        merge(list(pair))


@pytest.mark.parametrize("column", ["cpu", "torch", "threads"])
def test_costs_that_were_not_measured_alike_are_refused(
    pair: tuple[Path, Path], trained_cost: Callable[..., Row], column: str
) -> None:
    write_costs(pair[0], {"bnn": trained_cost("bnn")})
    write_costs(pair[1], {"xnor": trained_cost("xnor", **{column: "another"})})
    with pytest.raises(BitlensError, match=rf"bnn and xnor on .* \({column} .* and another\)"):
        merge(list(pair))


def test_devices_are_never_mixed(pair: tuple[Path, Path]) -> None:
    change(pair[1] / "xnor" / "seed1" / "env.json", device="a GPU")
    with pytest.raises(BitlensError, match=r"trained on cpu and .*xnor/seed1 on a GPU; a table"):
        merge(list(pair))


def test_costs_survive_their_file(tmp_path: Path, cost: Callable[..., Row]) -> None:
    rows = {name: cost(name, why_runtime='a "mean", subtracted') for name in ("bnn", "irnet")}
    assert read_costs(tmp_path) == {}
    write_costs(tmp_path, rows)
    assert read_costs(tmp_path) == rows
    assert (tmp_path / FILE).read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_damaged_costs_file_is_refused(tmp_path: Path, cost: Callable[..., Row]) -> None:
    write_costs(tmp_path, {"bnn": cost("bnn")})
    file = tmp_path / FILE
    whole = file.read_text()
    file.write_text(whole.replace("step_ratio", "ratio", 1))
    with pytest.raises(BitlensError, match=r"costs.csv: other columns .*ratio, step_ratio"):
        read_costs(tmp_path)
    file.write_text(whole.rstrip("\n").rpartition(",")[0] + "\n")
    with pytest.raises(BitlensError, match=r"costs.csv, row 1: the count of cells differs"):
        read_costs(tmp_path)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BitlensError, match="cannot read"):
        read_costs(tmp_path)
