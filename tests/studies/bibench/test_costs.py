"""costs.csv as ratios, float over binary."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.studies.bibench.costs import read_cost_ratios
from bitlens.studies.method_table.cost_rows import COLUMNS, write_costs


def write(folder: Path, **cells: str) -> None:
    row = {column: cells.get(column, "") for column in COLUMNS}
    write_costs(folder, {cells["method"]: row})


def test_ratios_by_hand(tmp_path: Path) -> None:
    assert read_cost_ratios(tmp_path) == {}
    write(
        tmp_path, method="irnet", step_ratio="1.25", cmim_step_ratio="2", float_bytes="3000",
        file_bytes="200", torch_ratio="9.5", onnxruntime_ratio="4.5",
    )  # fmt: skip
    cost = read_cost_ratios(tmp_path)["irnet"]
    assert cost.step == {"none": 0.8, "cmim": 0.5}
    assert cost.latency == 4.5 and cost.file == 15


def test_what_was_not_measured_stays_absent(tmp_path: Path) -> None:
    write(tmp_path, method="dybnn", step_ratio="1.6", float_bytes="3000")
    cost = read_cost_ratios(tmp_path)["dybnn"]
    assert cost.step == {"none": 0.625} and cost.latency is None and cost.file is None


@pytest.mark.parametrize("cell", ["fast", "0", "-1", "nan"])
def test_damage_is_explained(tmp_path: Path, cell: str) -> None:
    write(tmp_path, method="bnn", step_ratio=cell)
    with pytest.raises(BitlensError, match=rf"bnn: step_ratio='{cell}' should be a number"):
        read_cost_ratios(tmp_path)
