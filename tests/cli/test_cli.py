"""The door itself: quick, quiet when the reader leaves, and honest when stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bitlens
from bitlens.cli import COMMANDS
from bitlens.errors import BitlensError
from bitlens.training.run import RunFolder

SOURCE = str(Path(bitlens.__file__).parents[1])
HEAVY = ("torch", "datasets", "plotly", "scipy", "pandas", "pyarrow", "torchmetrics")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1", **more}


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["--version"], ["list", "recipes"], ["train", "demo-cmmi"], ["train", "-h"]],
)
def test_quick_answers_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from bitlens.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.endswith("HEAVY []\n"), done.stdout + done.stderr


def test_help_names_every_command(say) -> None:
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        said = say(*arguments)
        assert said.code == 0 and said.err == ""
        assert all(f"  {name} " in said.out for name in COMMANDS)
        assert max(map(len, said.out.splitlines())) <= 100
    assert say("--version").out == f"{bitlens.__version__}\n"


@pytest.mark.parametrize("command", ["train", "compare", "report", "info", "list", "doctor"])
def test_every_command_has_help(say, command: str) -> None:
    said = say(command, "--help")
    assert said.code == 0
    assert f"usage: bitlens {command}" in said.out


@pytest.mark.parametrize("arguments", [["list", "recipes"], ["--help"]])
def test_a_reader_that_leaves_sees_no_traceback(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bitlens", *arguments],
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_that_knows_ascii_only() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bitlens", "info", "mlp"],
        env=environment(PYTHONIOENCODING="ascii"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and "hidden.0.linear" in done.stdout


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["train", "demo-plain"], "the same command with --resume continues"),
        (["compare", "demo-plain"], "the same command continues"),
        (["doctor"], "stopped\n"),
    ],
)
def test_ctrl_c_says_how_to_go_on(
    say, command: list[str], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    module = f"bitlens.cli.{command[0]}_command"
    __import__(module)
    monkeypatch.setattr(sys.modules[module], "run", interrupt)
    said = say(*command)
    assert said.code == 130
    assert hint in said.err and "Traceback" not in said.err


def test_an_error_of_ours_is_one_line(say, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise BitlensError("the disk is full")

    __import__("bitlens.cli.report_command")
    monkeypatch.setattr(sys.modules["bitlens.cli.report_command"], "run", fail)
    said = say("report")
    assert (said.code, said.out, said.err) == (2, "", "bitlens: the disk is full\n")


def test_ctrl_c_ends_a_comparison_with_its_workers(tiny_data: str, tmp_path: Path) -> None:
    """The whole group gets the signal, as from a terminal; the workers must not answer it."""
    options = ["--data", tiny_data, "--augment", "none", "--model", "mlp", "--epochs", "5000"]
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "bitlens", "compare", "demo-plain", "demo-float"),
            *(*options, "--seeds", "2", "--jobs", "2", "--threads", "2", "--out", str(tmp_path)),
        ],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started = [tmp_path / name / "seed0" / "state.pt" for name in ("demo-plain", "demo-float")]
    while running.poll() is None and not all(path.exists() for path in started):
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=400)
    assert running.returncode == 130, said
    assert said.strip() == (
        "bitlens: stopped; finished runs and epochs are kept, the same command continues"
    )
    assert not (tmp_path / "demo-plain" / "seed1").exists(), "no further run was begun"
    for path in started:
        with RunFolder(path.parent).locked():
            pass
