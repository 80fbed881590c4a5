"""Two processes compute what one does: gradients, statistics, memories. One start for the file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bitlens.models import create
from bitlens.objectives.gather import world
from bitlens.training.distributed import SyncedBatchNorm, may_rest, parallelize, process_group

PROGRAM = Path(__file__).with_name("two_processes.py")
_spec = importlib.util.spec_from_file_location("two_processes", PROGRAM)
assert _spec is not None and _spec.loader is not None
alone = importlib.util.module_from_spec(_spec)
sys.modules["two_processes"] = alone
_spec.loader.exec_module(alone)


@pytest.fixture(scope="session")
def ranks(
    run_as_two: Callable[[Path, Path], None], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Results of a group of two gloo processes, started once."""
    folder = tmp_path_factory.mktemp("ranks")
    run_as_two(PROGRAM, folder)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="session")
def single() -> dict[str, dict[str, Any]]:
    """The same cases in this process."""
    return {name: alone.train(given, torch.float64) for name, given in alone.CASES.items()}


@pytest.mark.ddp
class TestTwoProcesses:
    def test_both_ranks_ran(self, ranks: list[dict[str, Any]]) -> None:
        assert [r["world"] for r in ranks] == [[0, 2], [1, 2]]

    @pytest.mark.parametrize("case", alone.CASES)
    def test_gradients_equal_one_process(
        self, ranks: list[dict[str, Any]], single: dict[str, Any], case: str
    ) -> None:
        """Every parameter of net, heads and critic, at every step."""
        for theirs in (rank["cases"][case] for rank in ranks):
            for ours, other in zip(single[case]["gradients"], theirs["gradients"], strict=True):
                assert ours.keys() == other.keys()
                assert any("_head." in name for name in ours)
                for name, gradient in ours.items():
                    assert float(gradient.abs().max()) > 0 or "shift" in name, name
                    torch.testing.assert_close(other[name], gradient, rtol=1e-6, atol=1e-9)
            assert theirs["losses"] == pytest.approx(single[case]["losses"], rel=1e-9)
            assert theirs["bounds"] == pytest.approx(single[case]["bounds"], rel=1e-6, abs=1e-6)

    @pytest.mark.parametrize("case", alone.CASES)
    def test_weights_statistics_and_memories_equal_one_process(
        self, ranks: list[dict[str, Any]], single: dict[str, Any], case: str
    ) -> None:
        first, second = (rank["cases"][case]["state"] for rank in ranks)
        expected = single[case]["state"]
        assert first.keys() == second.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(first[name], value, rtol=1e-7, atol=1e-9)
            assert torch.equal(first[name], second[name]), name
        if "source" in alone.CASES[case]:
            memory = "queue" if "queue" in case else "bank"
            assert any(name.endswith(f".{memory}") for name in expected)

    @pytest.mark.parametrize("plan", alone.PLANS)
    def test_stages_with_resting_parameters_equal_one_process(
        self, ranks: list[dict[str, Any]], plan: str
    ) -> None:
        """Scales while weights are real, shifts while inputs are clipped, an adapter that is off."""
        expected = alone.train_stages(plan, torch.float64)
        resting = {
            "one-step": [{"gain"}, {"gain"}, set(), set()],
            "two-step": [{"gain", "scale"}] * 2 + [{"scale"}] * 2 + [{"gain"}] * 2 + [set()] * 2,
            "three-step": [
                *([{"gain", "scale", "shift"}] * 2 + [{"scale", "shift"}] * 2),
                *([{"gain", "scale"}] * 2 + [{"scale"}] * 2 + [{"gain"}] * 2 + [set()] * 2),
            ],
        }[plan]
        names = set(expected["gradients"][-1])
        for found in (rank["stages"][plan] for rank in ranks):
            assert len(found["gradients"]) == len(expected["gradients"]) == len(resting)
            for ours, theirs, absent in zip(
                expected["gradients"], found["gradients"], resting, strict=True
            ):
                assert ours.keys() == theirs.keys()
                assert {name.rpartition(".")[2] for name in names - ours.keys()} == absent
                for name, gradient in ours.items():
                    torch.testing.assert_close(theirs[name], gradient, rtol=1e-6, atol=1e-9)
            assert found["losses"] == pytest.approx(expected["losses"], rel=1e-8)
            for name, value in expected["state"].items():
                torch.testing.assert_close(found["state"][name], value, rtol=1e-6, atol=1e-9)

    def test_synced_batch_norm_is_batch_norm_of_the_whole_batch(
        self, ranks: list[dict[str, Any]]
    ) -> None:
        kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
        number = 0
        for shape in alone.NORM_SHAPES:
            for momentum, affine in ((0.1, True), (None, False)):
                source = torch.Generator().manual_seed(len(shape))
                whole = torch.randn(2, *shape, generator=source, dtype=torch.float64) * 3 + 50
                upstream = torch.randn(shape, generator=source, dtype=torch.float64)
                norm = kinds[len(shape)](shape[1], momentum=momentum, affine=affine).double()
                for batch in whole:
                    x = batch.clone().requires_grad_()
                    norm.zero_grad()
                    out = norm(x)
                    out.backward(upstream)
                parts = [rank["norms"][number] for rank in ranks]
                for key, value in (
                    ("out", out),
                    ("gradient", x.grad),
                    ("evaluated", norm.eval()(whole[0])),
                ):
                    joined = torch.cat([part[key] for part in parts])
                    torch.testing.assert_close(joined, value.detach(), rtol=1e-9, atol=1e-9)
                for name, parameter in norm.named_parameters():
                    total = sum(part["parameters"][name] for part in parts)
                    torch.testing.assert_close(total, parameter.grad, rtol=1e-9, atol=1e-9)
                for name, value in norm.state_dict().items():
                    torch.testing.assert_close(parts[0]["state"][name], value)
                    assert torch.equal(parts[0]["state"][name], parts[1]["state"][name])
                number += 1

    def test_gathering_is_in_rank_order_and_sums_the_gradients(
        self, ranks: list[dict[str, Any]]
    ) -> None:
        rows = torch.cat([torch.arange(6.0).view(3, 2), torch.arange(6.0).view(3, 2) + 10])
        for rank, found in enumerate(r["gather"] for r in ranks):
            assert torch.equal(found["rows"], rows)
            # Rank r weighs squares by r + 1, so a row gets 2 x (1 + 2).
            assert torch.equal(found["gradient"], 6 * rows[3 * rank : 3 * rank + 3])
            assert found["integers"].tolist() == [0, 5, 1, 6]
            assert found["labels"].tolist() == [0, 1]

    def test_replacing_norms_keeps_precision_and_mode(self, ranks: list[dict[str, Any]]) -> None:
        for found in (rank["converted"] for rank in ranks):
            assert found["kinds"] == ["SyncedBatchNorm"] * 2 and found["training"] is False
            assert found["weight"].dtype == torch.float64
            assert found["weight"].tolist() == [1 / 3] * 2 and found["mean"].tolist() == [1 / 7] * 2


class TestAlone:
    def test_no_group_without_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        with process_group(torch.device("cpu")) as place:
            assert place == (0, 1) == world()
            assert not torch.distributed.is_initialized()

    def test_nothing_is_wrapped(self) -> None:
        task = nn.Linear(2, 2)
        assert parallelize(task, torch.device("cpu")) is task

    @pytest.mark.parametrize(
        ("method", "rests"), [("float", False), ("bireal", False), ("reactnet", True)]
    )
    def test_what_may_go_without_a_gradient(self, method: str, rests: bool) -> None:
        net = create("resnet8-r2b-poolpad", method=method, classes=2, channels=1, image_size=8)
        assert may_rest(net) is rests

    @pytest.mark.parametrize("shape", alone.NORM_SHAPES)
    def test_synced_norm_alone_is_the_built_in(self, shape: tuple[int, ...]) -> None:
        synced = SyncedBatchNorm(3)
        built_in = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3)
        x = torch.randn(shape)
        assert torch.equal(synced(x), built_in(x))
        assert torch.equal(synced.running_var, built_in.running_var)
