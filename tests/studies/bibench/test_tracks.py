"""The formulas against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.studies.bibench import tracks

RATIO = st.floats(0.01, 10)


def test_learning_is_the_quadratic_mean_over_data_of_the_mean_over_nets() -> None:
    # E = 0.8 and 0.6: sqrt((0.64 + 0.36) / 2) = sqrt(0.5).
    assert tracks.learning({"a": [0.7, 0.9], "b": [0.6]}) == pytest.approx(math.sqrt(0.5))
    assert tracks.architecture({"cnn": [0.7, 0.9], "mlp": [0.6]}) == pytest.approx(math.sqrt(0.5))


def test_a_corruption_compares_mean_accuracies() -> None:
    # (0.6 + 0.3) / 2 = 0.45 over (0.8 + 0.7) / 2 = 0.75; not the mean of 0.75 and 0.43.
    assert tracks.corrupted([0.6, 0.3], [0.8, 0.7]) == pytest.approx(0.6)


def test_robustness_over_corruptions() -> None:
    # sqrt((0.3^2 + 0.4^2 + 1.2^2) / 3) = sqrt(1.69 / 3) = 1.3 / sqrt(3).
    assert tracks.robustness({"fog": [0.3], "snow": [0.5, 0.3], "noise": [1.2]}) == pytest.approx(
        1.3 / math.sqrt(3)
    )


def test_sensitivity_is_the_ratio_of_sample_deviations() -> None:
    # (0.5, 0.7): 0.1 sqrt(2); (0.8, 0.9): 0.05 sqrt(2).
    assert tracks.sensitivity([0.5, 0.7], [0.8, 0.9]) == pytest.approx(0.5)
    # (0.5, 0.6, 0.7): 0.1; (0.80, 0.82, 0.84): 0.02.
    assert tracks.sensitivity([0.5, 0.6, 0.7], [0.80, 0.82, 0.84]) == pytest.approx(0.2)
    assert tracks.sensitivity([0.5, 0.5], [0.8, 0.9]) is None


def test_two_parts_are_joined_or_the_first_stands_alone() -> None:
    assert tracks.joined(1.0, 7.0) == pytest.approx(5.0)
    assert tracks.joined(0.8, None) == pytest.approx(0.8)


def test_sizes_and_operations() -> None:
    # 1000 floats: 32,000 bits. Binary: 100 floats and 900 signs, 3,200 + 900 bits.
    ratio = tracks.size_ratio(parameters_fp=1000, parameters_bin=1000, binary=900)
    assert ratio == pytest.approx(32_000 / 4_100)
    # 20 thresholds more: 640 bits.
    ratio = tracks.size_ratio(parameters_fp=1000, parameters_bin=1020, binary=900)
    assert ratio == pytest.approx(32_000 / 4_740)
    # 6.4 M float operations against 0.4 M and 6.4 M / 64 = 0.1 M.
    found = tracks.operation_ratio(ops_fp=6.4e6, flops_rest=0.4e6, bops=6.4e6)
    assert found == pytest.approx(12.8)


@given(st.lists(RATIO, min_size=1, max_size=8))
def test_the_quadratic_mean_lies_between_mean_and_maximum(values: list[float]) -> None:
    found = tracks.quadratic_mean(values)
    assert tracks.mean(values) <= found * (1 + 1e-9) and found <= max(values) * (1 + 1e-9)
