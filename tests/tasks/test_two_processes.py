"""Two processes, whose batches hold unequal numbers of known pixels, train and judge as one does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).with_name("two_processes.py")
_spec = importlib.util.spec_from_file_location("tasks_in_two_processes", PROGRAM)
assert _spec is not None and _spec.loader is not None
alone = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(alone)


@pytest.fixture(scope="module")
def ranks(
    run_as_two: Callable[[Path, Path], None], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Results of a group of two gloo processes, started once."""
    folder = tmp_path_factory.mktemp("tasks")
    run_as_two(PROGRAM, folder)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.ddp
@pytest.mark.parametrize("case", alone.CASES)
def test_gradients_losses_and_metrics_equal_one_process(
    ranks: list[dict[str, Any]], case: str
) -> None:
    single = alone.trained(alone.CASES[case])
    first, second = (rank[case] for rank in ranks)
    for theirs in (first, second):
        for ours, other in zip(single["gradients"], theirs["gradients"], strict=True):
            assert ours.keys() == other.keys()
            for name, gradient in ours.items():
                assert gradient.any(), name
                torch.testing.assert_close(other[name], gradient, rtol=1e-9, atol=1e-12)
        assert theirs["metrics"] == pytest.approx(single["metrics"], rel=1e-9)
    whole = torch.tensor([first["losses"], second["losses"]], dtype=torch.float64).mean(0)
    torch.testing.assert_close(whole, torch.tensor(single["losses"], dtype=torch.float64))
