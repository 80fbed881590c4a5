"""From folders to CSVs to pages: what is published is what was trained, and a page that lags is noticed."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bitlens.errors import BitlensError
from bitlens.studies.method_table.cost_rows import COLUMNS, write_costs
from bitlens.training.compare import compare
from bitlens.training.comparison_table import COLUMNS as RUN_COLUMNS
from bitlens.training.files import write_rows
from bitlens.training.recipe import Recipe

Row = dict[str, str]
SCRIPTS = Path(__file__).parents[3] / "scripts"
MARKED = """before
<!-- methods: results/methods_runs.csv results/methods_costs.csv {} -->
<!-- end -->
after
"""


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs update_tables on a README and a docs page of their own."""
    module = script("update_tables")
    for folder in ("docs", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "README.md").write_text(MARKED.format("short"))
    forms = ("figure method_table.svg", "full cifar10", "full fashion-mnist", "published")
    (tmp_path / "docs" / "method_table.md").write_text("".join(map(MARKED.format, forms)))
    results = tmp_path / "results"
    names = (results / "methods_runs.csv", results / "methods_costs.csv")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "METHOD_TABLE", names)
    monkeypatch.setattr(module, "PICTURE", tmp_path / "docs" / "method_table.svg")
    found = (tmp_path / "README.md", tmp_path / "docs" / "method_table.md")
    monkeypatch.setattr(module, "PAGES", found)

    def update(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["update_tables.py", *arguments])
        return module.main()

    return update


def publish(folder: Path, runs: list[Row], costs: list[Row]) -> None:
    columns = list(dict.fromkeys(column for row in runs for column in row))
    write_rows(folder / "results" / "methods_runs.csv", columns, runs)
    write_rows(folder / "results" / "methods_costs.csv", COLUMNS, costs)


def test_without_runs_pages_hold_no_half_table(pages, tmp_path: Path) -> None:
    assert pages() == 0
    readme = (tmp_path / "README.md").read_text()
    assert readme == MARKED.format("short").replace(
        "<!-- end", "No runs of the method table are published yet.\n<!-- end"
    )
    page = (tmp_path / "docs" / "method_table.md").read_text()
    assert "| `irnet` | cifar10 | ResNet-20 86.5" in page and "![" not in page
    assert "No runs on cifar10 are published yet." in page
    assert not (tmp_path / "docs" / "method_table.svg").exists()
    assert pages("--check") == 0


def test_pages_and_picture_follow_the_rows(
    pages, tmp_path: Path, some_runs: list[Row], cost: Callable[..., Row]
) -> None:
    publish(tmp_path, some_runs, [cost("bnn")])
    assert pages("--check") == 1, "not written yet"
    assert pages() == 0 and pages("--check") == 0
    readme = (tmp_path / "README.md").read_text()
    page = (tmp_path / "docs" / "method_table.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("<!-- end -->\nafter\n")
    assert "| `bnn` | 38.00 ± 1.00 | +1.00 (-0.24 .. +2.24) | 1.19 | 30,076 (10.0x)" in readme
    assert "| `bnn` | 3 | 38.00 ± 1.00 | 39.00 ± 0.50 |" in page
    assert "seed by seed](method_table.svg)" in page
    picture = tmp_path / "docs" / "method_table.svg"
    assert picture.read_text().startswith("<svg")

    picture.write_text("<svg/>")
    assert pages("--check") == 1, "the picture lags"
    assert pages() == 0
    some_runs[3]["test_accuracy"] = "0.30"
    publish(tmp_path, some_runs, [cost("bnn")])
    assert pages("--check") == 1, "pages lag"


def test_the_script_writes_what_comparisons_hold(
    tmp_path: Path,
    tiny_data: str,
    cost: Callable[..., Row],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = Recipe(
        name="bnn",
        method="bnn",
        data=tiny_data,
        augment="none",
        model="mlp",
        epochs=1,
        batch_size=32,
    )
    twin = replace(plain, name="float", method="float")
    for folder, recipes in (("a", [twin]), ("b", [plain, twin])):
        compare(recipes, [0], tmp_path / folder, baseline="float", resolve=lambda name: None)
    measured = cost("bnn", data=tiny_data, recipe_digest=plain.digest)
    write_costs(tmp_path / "b", {"bnn": measured})
    module = script("publish_methods")
    given = [*(str(tmp_path / name) for name in "ab"), "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["publish_methods.py", *given])
    assert module.main() == 0
    assert "2 runs, costs of 1 methods" in capsys.readouterr().out
    with (tmp_path / "methods_runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(RUN_COLUMNS)
    assert [(row["variant"], row["run"]) for row in rows] == [
        *(("float", "float/seed0"), ("bnn", "bnn/seed0"))
    ]
    assert (tmp_path / "methods_costs.csv").read_text().count("\n") == 2

    monkeypatch.setattr(sys, "argv", ["publish_methods.py", *given, "--measure"])
    assert module.main() == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'b'}: cost of bnn not measured: its runs of seed 0, plain and" in said
    assert "2 runs, costs of 1 methods" in said

    def fails(*given: object) -> None:
        raise BitlensError("could not measure the cost of bnn: a sign differs")

    monkeypatch.setattr(module, "measure", fails)
    assert module.main() == 1
    said = capsys.readouterr().out
    assert "a sign differs" in said and "2 runs" in said, "what there is is published"

    monkeypatch.setattr(sys, "argv", ["publish_methods.py", str(tmp_path / "none")])
    with pytest.raises(SystemExit):
        module.main()
    assert "no comparison in it" in capsys.readouterr().err
