"""How numbers are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.report import quantities as q


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (q.percent(0.8123), "81.23 %"),
        (q.percent(None), "-"),
        (q.number(1.23456), "1.235"),
        (q.size(0), "0 B"),
        (q.size(999), "999 B"),
        (q.size(1000), "1.0 kB"),
        (q.size(312_000), "312.0 kB"),
        (q.size(999_960), "1.0 MB"),
        (q.size(None), "-"),
        (q.amount(1_234_567), "1.2 M"),
        (q.amount(12), "12"),
        (q.duration(7.94), "7.9 s"),
        (q.duration(75), "1:15"),
        (q.duration(4000), "1:06:40"),
        (q.ratio(312_000, 14_000), "22.3x"),
        (q.ratio(1, 0), "-"),
        (q.plural(1, "seed"), "1 seed"),
        (q.plural(3, "seed"), "3 seeds"),
        (q.signed(0.2), "+0.20"),
        (q.signed(-0.2), "-0.20"),
        (q.signed(0.0), "0.00"),
        (q.signed(-0.001), "0.00"),
    ],
)
def test_written(written: str, expected: str) -> None:
    assert written == expected


@given(st.floats(1e-7, 100))
def test_decimals_keep_a_number_from_vanishing(value: float) -> None:
    digits = q.decimals(value)
    assert float(f"{value:.{digits}f}") != 0
    assert digits == 2 or float(f"{value:.{digits - 1}f}") == 0
