"""Two processes share the probe and get the row of one."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bitlens

PROGRAM = Path(__file__).with_name("two_processes.py")
_spec = importlib.util.spec_from_file_location("plane_in_two_processes", PROGRAM)
assert _spec is not None and _spec.loader is not None
alone = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(alone)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {
        "PYTHONPATH": str(Path(bitlens.__file__).parents[1]),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(PROGRAM), str(folder)],
            env={**os.environ, **group, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, text in zip(started, told, strict=True):
        assert process.returncode == 0, text
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.ddp
def test_rows_are_those_of_one_process(ranks: list[dict[str, Any]]) -> None:
    expected = alone.measured(False)
    assert ranks[0]["rows"] == expected
    assert ranks[1]["rows"] == [None, None]
    first, second = (row["layers"]["2"]["entropy"] for row in expected)
    assert 0 < first and 0 < second


@pytest.mark.ddp
def test_one_process_s_nan_reaches_all(ranks: list[dict[str, Any]]) -> None:
    """Only process 1 sees the bad batch; without the exchange process 0 would wait for ever."""
    assert {rank["failure"] for rank in ranks} == {
        "plane, step 0: layer '1': its activations hold NaN"
    }


@pytest.mark.ddp
def test_processes_with_shares_of_the_probe_are_refused(ranks: list[dict[str, Any]]) -> None:
    assert alone.different(0, 2) == alone.different(1, 2) == ""
    assert ranks[0]["different"] == ranks[1]["different"]
    assert "step 0: processes hold different probes" in ranks[0]["different"]
