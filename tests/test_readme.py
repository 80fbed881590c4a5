"""README and docs say what the code does and the results hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_python_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "nats" in printed
    assert "binary (reactnet)" in printed


def test_the_information_plane_pages_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "information_plane.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    torch.manual_seed(0)
    exec(compile(block, "information_plane.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and printed[-1].startswith("prediction")
    assert all(
        line.endswith(("reliable", "corrected", "saturated", "unreliable")) for line in printed
    )


def test_tables_agree_with_their_csv() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "update_tables.py"), "--check"],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_recipe_named_in_the_pages_exists() -> None:
    from bitlens.recipes import RECIPES

    for page in PAGES:
        for command in re.findall(r"bitlens (?:train|compare) ([^\n]*)", page.read_text()):
            named, _, _ = command.partition("--")
            names = [
                w
                for w in named.split()
                if re.fullmatch(r"(demo|fashion|cifar10|resnet20|nyudv2)-\S+", w)
            ]
            for name in names:
                assert name in RECIPES, (page.name, name)
