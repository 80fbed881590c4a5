"""Statistics of finished comparisons against sums done by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats

from bitlens.errors import BitlensError
from bitlens.studies.dense.comparisons import read_dense
from bitlens.studies.dense.findings import Finding, findings, verdicts
from bitlens.studies.dense.metrics import METRICS
from bitlens.studies.dense.summary_rows import COLUMNS, summary_rows
from bitlens.tasks.dense_metrics import LOWER_IS_BETTER
from bitlens.training.comparison_table import DENSE_METRICS

CONSTANTS = {
    "most frequent class": {"miou": 0.1, "pixel_accuracy": 0.4, "class_accuracy": 0.2},
    "near": {
        "rmse": 1.2,
        "abs_rel": 0.5,
        "log10": 0.2,
        "delta1": 0.3,
        "delta2": 0.6,
        "delta3": 0.8,
    },
    "far": {
        "rmse": 1.0,
        "abs_rel": 0.6,
        "log10": 0.3,
        "delta1": 0.25,
        "delta2": 0.6,
        "delta3": 0.8,
    },
}

FLOAT = {
    0: {"miou": 0.5, "rmse": 0.6},
    1: {"miou": 0.4, "rmse": 0.7},
    2: {"miou": 0.5, "rmse": 0.8},
}
PLAIN = {
    0: {"miou": 0.3, "rmse": 0.9},
    1: {"miou": 0.3, "rmse": 0.8},
    2: {"miou": 0.36, "rmse": 1.0},
}
CMIM = {
    0: {"miou": 0.31, "rmse": 0.8},
    1: {"miou": 0.32, "rmse": 0.7},
    2: {"miou": 0.39, "rmse": 0.9},
}
MEASURED = {"plain": PLAIN, "float": FLOAT, "cmim": CMIM}


@pytest.fixture
def judged(fabricate: Callable[..., Path], tmp_path: Path) -> dict[tuple[str, str], Finding]:
    folder = fabricate(tmp_path / "c", MEASURED, {"plain": 10.0, "float": 5.0, "cmim": 12.0})
    (comparison,) = read_dense([folder])
    return {(one.variant, one.metric): one for one in findings(comparison, CONSTANTS)}


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and the ends of Student's 95 % interval."""
    n, mean = len(values), sum(values) / len(values)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n)
    return mean, mean - half, mean + half


def test_mean_spread_and_distance_to_the_best_constant(judged) -> None:
    one = judged["plain", "miou"]
    assert one.n == 3 and one.mean == pytest.approx(0.32)
    assert one.sd == pytest.approx(math.sqrt((0.02**2 + 0.02**2 + 0.04**2) / 2))
    assert one.constant == 0.1 and one.above == pytest.approx(0.22)


def test_less_error_than_the_constant_is_above_it(judged) -> None:
    one = judged["plain", "rmse"]
    assert one.constant == 1.0, "the better of the two depths"
    assert one.mean == pytest.approx(0.9) and one.above == pytest.approx(0.1)
    assert judged["near", "rmse"].above == pytest.approx(-0.2)
    assert judged["near", "delta1"].above == 0 and judged["far", "rmse"].above == 0


def test_share_of_the_float_twin_is_paired_by_seed(judged) -> None:
    share = judged["plain", "miou"].share
    ratios = [0.3 / 0.5, 0.3 / 0.4, 0.36 / 0.5]
    assert (share.n, share.mean) == (3, pytest.approx(sum(ratios) / 3))
    assert (share.mean, share.low, share.high) == pytest.approx(interval(ratios))
    assert judged["float", "miou"].share.n == 0
    assert judged["plain", "rmse"].share.n == 0, "a share of an error would mean nothing"


def test_what_cmim_adds_is_paired_by_seed(judged) -> None:
    one = judged["cmim", "miou"]
    assert one.plain == "plain"
    assert (one.gain.mean, one.gain.low, one.gain.high) == pytest.approx(
        interval([0.01, 0.02, 0.03])
    )
    assert one.gain.low < 0 < one.gain.high and one.verdict == "no difference"
    assert judged["plain", "miou"].gain.n == 0 and judged["plain", "miou"].verdict == ""


def test_a_smaller_error_is_better(judged) -> None:
    one = judged["cmim", "rmse"]
    assert one.gain.mean == pytest.approx(-0.1) and one.verdict == "better"


def test_time_and_bytes(judged, both: Path) -> None:
    assert judged["cmim", "miou"].time.mean == pytest.approx(1.2)
    assert judged["float", "miou"].time.mean == pytest.approx(0.5)
    assert judged["plain", "miou"].time.n == 0
    plain, real = judged["plain", "miou"], judged["float", "miou"]
    assert plain.smaller == real.bytes_latent / plain.bytes_packed > 15
    assert real.smaller is None and real.bytes_packed is None


def test_times_of_two_machines_are_not_compared(fabricate, tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "c", MEASURED, machines={"cmim": "another"})
    (comparison,) = read_dense([folder])
    found = {(one.variant, one.metric): one for one in findings(comparison, CONSTANTS)}
    assert found["cmim", "miou"].time.n == 0 and found["float", "miou"].time.n == 3


def test_one_seed_has_no_interval_and_no_verdict(fabricate, tmp_path: Path) -> None:
    measured = {name: {1: by_seed[1]} for name, by_seed in MEASURED.items()}
    (comparison,) = read_dense([fabricate(tmp_path / "c", measured)])
    found = {(one.variant, one.metric): one for one in findings(comparison, CONSTANTS)}
    one = found["cmim", "miou"]
    assert one.sd is None and one.gain.low is None and one.verdict == "one seed"
    assert "nothing can be concluded" in verdicts(comparison)[0]


def test_seeds_without_a_partner_are_left_out_of_pairs(fabricate, tmp_path: Path) -> None:
    measured = {**MEASURED, "cmim": {1: CMIM[1], 2: CMIM[2], 7: CMIM[0]}}
    (comparison,) = read_dense([fabricate(tmp_path / "c", measured)])
    found = {(one.variant, one.metric): one for one in findings(comparison, CONSTANTS)}
    one = found["cmim", "miou"]
    assert (one.n, one.gain.n, one.share.n) == (3, 2, 2)
    assert one.gain.mean == pytest.approx(0.025)


def test_claims_are_made_about_the_headlines(fabricate, tmp_path: Path) -> None:
    (comparison,) = read_dense([fabricate(tmp_path / "c", MEASURED)])
    told = verdicts(comparison)
    assert [sentence.partition(":")[0] for sentence in told] == ["mIoU", "δ < 1.25"]
    assert "no difference shown between cmim and plain (+2.00 points" in told[0]
    assert "n = 3 paired seeds" in told[0]


def test_a_metric_that_is_not_finite_is_refused(fabricate, tmp_path: Path) -> None:
    measured = {**MEASURED, "plain": {0: {"miou": math.nan}}}
    (comparison,) = read_dense([fabricate(tmp_path / "c", measured)])
    with pytest.raises(BitlensError, match="not finite"):
        findings(comparison, CONSTANTS)


def test_rows_of_the_summary(judged) -> None:
    rows = {(row["variant"], row["metric"]): row for row in summary_rows(judged.values())}
    row = rows["cmim", "miou"]
    assert tuple(row) == COLUMNS
    assert (row["mean"], row["gain_n"], row["gain_mean"]) == ("0.34", "3", "0.02")
    assert rows["near", "rmse"]["sd"] == "" and rows["near", "rmse"]["share_mean"] == ""
    assert len(rows) == 3 * 9 + 3 + 6 + 6


def test_metrics_are_those_of_the_task() -> None:
    assert tuple(METRICS) == DENSE_METRICS
    assert {name for name, metric in METRICS.items() if metric.error} == LOWER_IS_BETTER


@pytest.mark.parametrize(
    ("name", "value", "signed", "told"),
    [
        ("miou", 0.25678, False, "25.68"),
        ("miou", 0.01, True, "+1.00"),
        ("rmse", -0.0321, True, "-0.032"),
        ("rmse", 0.0001, True, "0.000"),
        ("delta1", None, False, "-"),
    ],
)
def test_how_values_are_written(name: str, value: float | None, signed: bool, told: str) -> None:
    assert METRICS[name].written(value, signed=signed) == told
