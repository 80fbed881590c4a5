"""Two processes share the probe and get the row of one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("two_processes.py")
_spec = importlib.util.spec_from_file_location("plane_in_two_processes", PROGRAM)
assert _spec is not None and _spec.loader is not None
alone = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(alone)


@pytest.fixture(scope="module")
def ranks(
    run_as_two: Callable[[Path, Path], None], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Results of a group of two gloo processes, started once."""
    folder = tmp_path_factory.mktemp("ranks")
    run_as_two(PROGRAM, folder)
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
