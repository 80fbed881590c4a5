"""A comparison that is killed takes its worker processes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from bitlens.recipes import RECIPES
from bitlens.training.compare import compare
if __name__ == "__main__":
    long = replace(RECIPES["demo-plain"], epochs=1000, train_images=1000)
    compare([long], [0, 1], Path(sys.argv[1]), baseline=long.name, resolve=RECIPES.get, jobs=2)
"""


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for(condition: Callable[[], bool], seconds: float = 180) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text(SCRIPT)
    source = str(Path(__file__).parents[2] / "src")
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert wait_for(lambda: len(workers_of(parent.pid)) == 2)
        workers = workers_of(parent.pid)
        assert wait_for(lambda: any((tmp_path / "out").glob("*/seed*/recipe.json")))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert wait_for(lambda: not any(command(pid) for pid in workers), seconds=20)
