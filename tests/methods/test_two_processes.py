"""Two processes with half of the batch each train every method as one process does. One start for all."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.methods import METHODS

PROGRAM = Path(__file__).with_name("two_processes.py")
_spec = importlib.util.spec_from_file_location("methods_in_two_processes", PROGRAM)
assert _spec is not None and _spec.loader is not None
alone = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(alone)


@pytest.fixture(scope="session")
def ranks(
    run_as_two: Callable[[Path, Path], None], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("methods")
    run_as_two(PROGRAM, folder)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.ddp
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stage", alone.STAGES)
def test_gradients_and_state_equal_one_process(
    ranks: list[dict[str, Any]], method: str, stage: str
) -> None:
    single = alone.train(method, stage)
    first, second = (rank[f"{method}, {stage}"] for rank in ranks)
    for theirs in (first, second):
        for ours, other in zip(single["gradients"], theirs["gradients"], strict=True):
            assert ours.keys() == other.keys()
            for name, gradient in ours.items():
                torch.testing.assert_close(other[name], gradient, rtol=1e-6, atol=1e-9)
        assert single["state"].keys() == theirs["state"].keys()
        for name, value in single["state"].items():
            torch.testing.assert_close(theirs["state"][name], value, rtol=1e-7, atol=1e-9)
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name
    whole = torch.tensor([first["losses"], second["losses"]]).mean(0)
    torch.testing.assert_close(whole, torch.tensor(single["losses"]), rtol=1e-5, atol=1e-6)
