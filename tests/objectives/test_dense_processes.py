"""Two processes contrast places as one does, whatever their shares of the draw. One start for the file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).with_name("dense_processes.py")
_spec = importlib.util.spec_from_file_location("dense_processes", PROGRAM)
assert _spec is not None and _spec.loader is not None
alone = importlib.util.module_from_spec(_spec)
sys.modules["dense_processes"] = alone
_spec.loader.exec_module(alone)


@pytest.fixture(scope="module")
def ranks(
    run_as_two: Callable[[Path, Path], None], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Results of a group of two gloo processes, started once."""
    folder = tmp_path_factory.mktemp("dense_ranks")
    run_as_two(PROGRAM, folder)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.ddp
@pytest.mark.parametrize("case", alone.CASES)
def test_gradients_and_state_equal_one_process(ranks: list[dict[str, Any]], case: str) -> None:
    expected = alone.train(alone.CASES[case])
    for found in (rank["cases"][case] for rank in ranks):
        for ours, theirs in zip(expected["gradients"], found["gradients"], strict=True):
            assert ours.keys() == theirs.keys()
            assert float(ours["0.weight"].abs().max()) > 0
            for name, gradient in ours.items():
                torch.testing.assert_close(theirs[name], gradient, rtol=1e-7, atol=1e-10)
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-9)
        assert found["bounds"] == pytest.approx(expected["bounds"], rel=1e-6, abs=1e-6)
        assert found["ceilings"] == pytest.approx(expected["ceilings"], rel=1e-6)
        assert found["state"].keys() == expected["state"].keys()
        for name, value in expected["state"].items():
            torch.testing.assert_close(found["state"][name], value, rtol=1e-7, atol=1e-9)


@pytest.mark.ddp
def test_the_draws_were_unequal_and_once_left_a_process_without_any(
    ranks: list[dict[str, Any]],
) -> None:
    counts = [rank["cases"]["location"]["counts"] for rank in ranks]
    assert counts[0] == counts[1] and all(sum(pair) == 15 for pair in counts[0])
    assert any([0, 2] == sorted(pair) for pair in ranks[0]["cases"]["location-few"]["counts"])


@pytest.mark.ddp
def test_unequal_shares_are_gathered_in_rank_order_and_sum_their_gradients(
    ranks: list[dict[str, Any]],
) -> None:
    rows = torch.tensor([[0.0, 1], [2, 3], [4, 5], [10, 11]])
    for rank, found in enumerate(r["gather"] for r in ranks):
        assert torch.equal(found["rows"], rows)
        # Rank r weighs squares by r + 1, so a row gets 2 x (1 + 2).
        assert torch.equal(found["gradient"], 6 * (rows[:3], rows[3:])[rank])
        assert torch.equal(found["nothing"], torch.ones(2))
