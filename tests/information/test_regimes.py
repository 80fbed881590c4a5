"""The exact error of the plug-in for fair bits, against a table, simulation and bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bitlens.errors import BitlensError
from bitlens.information.regimes import (
    boundary,
    expected_entropy,
    largest_possible_bias,
    plugin_bias,
    sparse_bias,
    well_sampled_bias,
)

SAMPLES = (1_000, 5_000, 10_000, 60_000, 70_000, 1_000_000)
# Computed independently of this code, rounded to the digits shown.
TABLE = {
    6: "-.046 -.009 -.0045 -.0008 -.0006 0",
    8: "-.196 -.037 -.0185 -.0031 -.0026 -.0002",
    9: "-.421 -.075 -.037 -.0062 -.0053 -.0004",
    10: "-.845 -.155 -.075 -.0123 -.0106 -.0007",
    11: "-1.477 -.330 -.155 -.0248 -.0212 -.0015",
    12: "-2.266 -.685 -.330 -.0498 -.0426 -.0030",
    13: "-3.153 -1.254 -.685 -.101 -.086 -.0059",
    14: "-4.094 -1.999 -1.254 -.211 -.179 -.0119",
    15: "-5.064 -2.860 -1.999 -.452 -.383 -.0238",
    16: "-6.049 -3.787 -2.860 -.896 -.778 -.0478",
    18: "-8.038 -5.731 -4.750 -2.346 -2.158 -.202",
    20: "-10.035 -7.717 -6.722 -4.184 -3.971 -.864",
    24: "-14.03 -11.71 -10.71 -8.131 -7.909 -4.127",
}


@pytest.mark.parametrize("units", TABLE)
def test_table(units: int) -> None:
    found = plugin_bias(SAMPLES, units)
    for value, text in zip(found, TABLE[units].split(), strict=True):
        digits = len(text.partition(".")[2])
        unit = 10.0**-digits if digits else 1e-4
        assert value == pytest.approx(float(text), abs=0.52 * unit), (units, text)


def test_small_cases_by_hand() -> None:
    # Two fair samples of one bit: equal with chance 1/2 (0 bits), else 1 bit.
    assert plugin_bias(2, 1) == pytest.approx(-0.5)
    # Three: all equal 1/4, else a 2:1 split of .918296 bits.
    assert plugin_bias(3, 1) == pytest.approx(0.75 * (math.log2(3) - 2 / 3) - 1)
    assert plugin_bias(1, [0, 1, 7.5]) == pytest.approx([0, -1, -7.5])
    assert plugin_bias(5000, 0) == 0


def test_the_sum_by_the_definition() -> None:
    # -K E[(n/N) log2(n/N)] with n ~ Binomial(N, 1/K), every term of it.
    for samples, units in ((37, 3), (500, 6), (1000, 15), (2000, 12)):
        cells = 2**units
        n = np.arange(1, samples + 1)
        share = n / samples
        weights = stats.binom.pmf(n, samples, 1 / cells)
        direct = -cells * (weights * share * np.log2(share)).sum()
        assert expected_entropy(samples, units) == pytest.approx(direct, abs=1e-9)


def test_simulation() -> None:
    draw = np.random.default_rng(0)
    found = []
    for _ in range(60):
        shares = np.bincount(draw.integers(0, 4096, 1000)) / 1000
        shares = shares[shares > 0]
        found.append(-(shares * np.log2(shares)).sum())
    assert expected_entropy(1000, 12) == pytest.approx(9.7337, abs=5e-4)
    assert np.mean(found) == pytest.approx(
        float(expected_entropy(1000, 12)), abs=4 * np.std(found) / math.sqrt(60)
    )


@given(st.integers(1, 10**7), st.floats(0, 200))
def test_bounds_hold_everywhere(samples: int, units: float) -> None:
    error = float(plugin_bias(samples, units))
    assert error <= 1e-9
    assert error >= float(largest_possible_bias(samples, units)) - 1e-9
    assert error + units <= math.log2(samples) + 1e-9
    assert float(plugin_bias(samples, units + 0.5)) <= error + 1e-9
    assert float(plugin_bias(2 * samples, units)) >= error - 1e-9


def test_asymptotic_rules() -> None:
    assert plugin_bias(10**6, 8) == pytest.approx(float(well_sampled_bias(10**6, 8)), rel=1e-3)
    assert plugin_bias(1000, 24) == pytest.approx(float(sparse_bias(1000, 24)), abs=1e-6)
    assert well_sampled_bias(1000, 0) == 0
    assert largest_possible_bias(1, 3) == pytest.approx(-3)
    assert np.isfinite(plugin_bias(1000, 1e-18)) and np.isfinite(plugin_bias(1000, 5000))


def test_boundary() -> None:
    samples = np.array([10_000, 50_000, 60_000, 70_000])
    found = boundary(samples, 0.05)
    assert np.floor(found).tolist() == [9, 11, 12, 12]
    assert np.log2(samples) - found == pytest.approx(3.86, abs=0.02)
    assert plugin_bias(samples, found) == pytest.approx([-0.05] * 4, abs=1e-9)
    assert math.log2(60_000) - float(boundary(60_000, 0.01)) == pytest.approx(6.2, abs=0.05)
    assert boundary(1, 0.3) == pytest.approx(0.3)
    assert boundary([[10, 20], [30, 40]], 0.1).shape == (2, 2)


def test_errors() -> None:
    with pytest.raises(BitlensError, match="whole numbers"):
        plugin_bias(10.5, 3)
    with pytest.raises(BitlensError, match="whole numbers"):
        plugin_bias([10, 0], 3)
    with pytest.raises(BitlensError, match="bits"):
        plugin_bias(10, -1)
    with pytest.raises(BitlensError, match="positive"):
        boundary(10, 0)
