"""The layout of the code: which room may know which, and what every file owes its reader."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "bitlens"
ORDER = (
    "bits",
    "methods",
    "models",
    "objectives",
    "information",
    "data",
    "tasks",
    "training",
    "engine",
    "report",
    "studies",
    "recipes",
    "cli",
)
"""From the lowest room to the highest: a room imports only rooms before it."""

BLIND = {
    "methods": {"data", "training"},
    "models": {"objectives", "data", "training"},
    # It knows the methods' `Sign` alone, the point where a layer's code is made.
    "information": {"data", "training"},
    "data": {"bits", "methods", "models", "objectives", "information"},
    "engine": {"training", "data", "objectives"},
    "report": {"bits", "methods", "models", "objectives", "data", "tasks", "training", "engine"},
}
"""Rooms that know nothing of these, whatever the order says."""

FREE = {"errors", "__init__", "__main__"}
HEAVY = ("torch", "datasets", "plotly", "scipy", "pandas", "torchmetrics", "pyarrow", "PIL")

FILES = sorted(PACKAGE.rglob("*.py"))
each = pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def room(module: str) -> str:
    """`bitlens.models.layers` -> `models`; `bitlens` itself -> `__init__`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(file: Path) -> str:
    parts = list(file.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(code: ast.Module, package: str) -> Iterator[str]:
    """Absolute names of all that `code` in `package` imports, in functions and type checks too."""
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parts = package.split(".")
                origin = ".".join([*parts[: len(parts) - node.level + 1], *origin.split()])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imported_by(file: Path) -> set[str]:
    module = module_of(file)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return set(imports(tree(file), package))


def rooms_known(file: Path) -> set[str]:
    known = {room(name) for name in imported_by(file) if name.split(".")[0] == "bitlens"}
    return {name for name in known if name in ORDER}


def test_there_is_a_house() -> None:
    assert {"bits", "methods", "models", "training"} <= {room(module_of(f)) for f in FILES}


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room(module_of(file)) for file in FILES} <= {*ORDER, *FREE}


@each
def test_a_room_imports_only_lower_ones(file: Path) -> None:
    own = room(module_of(file))
    if own in FREE:
        return
    higher = {name for name in rooms_known(file) if ORDER.index(name) > ORDER.index(own)}
    assert not higher
    assert not rooms_known(file) & BLIND.get(own, set())


@each
def test_errors_know_nothing_and_reports_no_torch(file: Path) -> None:
    own, names = room(module_of(file)), {name.split(".")[0] for name in imported_by(file)}
    if own == "errors":
        assert "bitlens" not in names
    if own == "report":
        assert "torch" not in names


@each
def test_what_runs_a_packed_net_knows_no_torch(file: Path) -> None:
    """A first answer must not wait for torch; only freezing, its peer and the torch operation know it."""
    module = module_of(file)
    knows = ("bitlens.engine.freeze", "torch_op", "torch_eager")
    if room(module) == "engine" and not any(name in module for name in knows):
        assert "torch" not in {name.split(".")[0] for name in imported_by(file)}


def test_the_import_rule_sees_relative_and_hidden_imports() -> None:
    code = "from .. import training\nfrom .. data.split import hold_out\nfrom . import layers\n"
    code += "def f():\n    from bitlens import tasks\n    import bitlens.report.page as p\n"
    rooms = {room(name) for name in imports(ast.parse(code), "bitlens.models")}
    assert rooms >= {"training", "data", "models", "tasks", "report"}


@each
def test_every_module_has_a_docstring(file: Path) -> None:
    assert ast.get_docstring(tree(file))


@each
def test_only_the_command_line_and_the_report_print(file: Path) -> None:
    if room(module_of(file)) in ("cli", "report"):
        return
    calls = [node for node in ast.walk(tree(file)) if isinstance(node, ast.Call)]
    assert not [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def test_nothing_is_called_utils() -> None:
    assert not [path for path in PACKAGE.rglob("*") if path.stem in ("utils", "util", "helpers")]


@pytest.mark.parametrize(
    "statement",
    [
        "import bitlens, bitlens.recipes",
        "import bitlens; bitlens.BitlensError; dir(bitlens)",
        "import bitlens.methods, bitlens.models, bitlens.errors",
    ],
)
def test_the_doors_open_without_heavy_imports(statement: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.split(".")[0] for name in found.stdout.split()}
    assert "bitlens" in loaded
    assert not loaded & set(HEAVY)


def test_every_name_at_the_top_can_be_had() -> None:
    import bitlens

    for name in bitlens.__all__:
        assert getattr(bitlens, name) is not None
        assert name in dir(bitlens)
    with pytest.raises(AttributeError, match="no attribute 'binarise'"):
        _ = bitlens.binarise
