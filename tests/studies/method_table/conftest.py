"""Rows of runs and costs as they stand in CSVs, made by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bitlens.studies.method_table.cost_rows import COLUMNS

Row = dict[str, str]


@pytest.fixture
def run() -> Callable[..., Row]:
    """One row of comparison.csv, as far as the table reads it."""

    def make(method: str, seed: int, accuracy: float, objective: str = "none", **more: str) -> Row:
        row = {
            "variant": method if objective == "none" else f"{method}-cmim",
            "seed": str(seed),
            "data": "cifar10",
            "model": "resnet8-bireal-poolpad",
            "method": method,
            "objective": objective,
            "epochs": "2",
            "train_images": "12500",
            "eval_split": "test",
            "test_accuracy": str(accuracy),
            "threads": "1",
            "cpu": "some CPU",
            "torch": "2.13.0+cpu",
            "device": "cpu",
            "commit": "abc123def",
        }
        return row | more

    return make


@pytest.fixture
def cost() -> Callable[..., Row]:
    """One row of costs.csv of a packed method, with cells replaced."""

    def make(method: str, **cells: str) -> Row:
        row = dict.fromkeys(COLUMNS, "")
        row |= {"data": "cifar10", "method": method, "deploy": "static", "cpu": "some CPU"}
        row |= {"step_ratio": "1.187", "step_low": "1.102", "step_high": "1.206"}
        row |= {"cmim_step_ratio": "1.364", "cmim_step_low": "1.293", "cmim_step_high": "1.417"}
        row |= {"float_bytes": "301672", "file_bytes": "30076", "packed_ms": "0.0346"}
        row |= {"torch_ratio": "15.706", "torch_low": "15.548", "torch_high": "15.9"}
        row |= {"onnxruntime_ratio": "4.955", "onnxruntime_low": "4.889"}
        row |= {"onnxruntime_high": "4.977", "step_rounds": "15", "rounds": "40", "load": "0.20"}
        return row | {"kernel": "avx512-vpopcntdq", "torch": "2.13.0+cpu"} | cells

    return make


@pytest.fixture
def some_runs(run: Callable[..., Row]) -> list[Row]:
    """float, bnn and irnet from three seeds, irnet with CMIM from two of them."""
    values = {
        ("float", "none"): (0.46, 0.455, 0.465),
        ("bnn", "none"): (0.38, 0.37, 0.39),
        ("bnn", "cmim"): (0.39, 0.385, 0.395),
        ("irnet", "none"): (0.41, 0.40, 0.43),
        ("irnet", "cmim"): (0.40, 0.41),
    }
    return [
        run(method, seed, accuracy, objective)
        for (method, objective), found in values.items()
        for seed, accuracy in enumerate(found)
    ]
