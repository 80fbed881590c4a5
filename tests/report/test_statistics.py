"""The numbers against hand computation and SciPy, the sentence against the interval."""

from __future__ import annotations

import math
import re

import numpy
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.report.statistics import (
    PairedDifference,
    paired_difference,
    spell,
    summarize,
    verdict,
)

fractions = st.floats(0, 1, allow_nan=False)


def test_summary_by_hand() -> None:
    summary = summarize([0.80, 0.82, 0.87])
    assert summary.n == 3
    assert summary.mean == pytest.approx(0.83)
    # Deviations -0.03, -0.01, +0.04; their squares sum to 0.0026; divided by n - 1 = 2.
    assert summary.sd == pytest.approx(math.sqrt(0.0013))


def test_summary_of_one_value_has_no_spread() -> None:
    assert summarize([0.5]).sd is None


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_summary_refuses_nothing_and_not_finite(values: list[float]) -> None:
    with pytest.raises(BitlensError):
        summarize(values)


def test_paired_difference_by_hand() -> None:
    difference = paired_difference({0: 0.81, 1: 0.83, 7: 0.5}, {1: 0.80, 0: 0.80, 9: 0.1})
    # Seeds 0 and 1 are common: differences 0.01 and 0.03, sd 0.01 * sqrt(2), so the half width
    # is t(0.975, 1) * 0.01 = 12.7062 * 0.01.
    assert difference.n == 2
    assert difference.mean == pytest.approx(0.02)
    assert difference.sd == pytest.approx(0.01 * math.sqrt(2))
    assert difference.low == pytest.approx(0.02 - 0.127062, abs=1e-6)
    assert difference.high == pytest.approx(0.02 + 0.127062, abs=1e-6)


@given(st.lists(st.tuples(fractions, fractions), min_size=2, max_size=12))
def test_interval_agrees_with_scipy(pairs: list[tuple[float, float]]) -> None:
    a, b = (dict(enumerate(side)) for side in zip(*pairs, strict=True))
    gaps = numpy.subtract(list(a.values()), list(b.values()))
    if numpy.ptp(gaps) < 1e-6:
        return
    expected = scipy.stats.ttest_rel(list(a.values()), list(b.values())).confidence_interval(0.95)
    difference = paired_difference(a, b)
    assert difference.low == pytest.approx(expected.low, abs=1e-9)
    assert difference.high == pytest.approx(expected.high, abs=1e-9)


def test_one_common_seed_has_no_interval() -> None:
    difference = paired_difference({0: 0.81, 1: 0.9}, {0: 0.80})
    assert (difference.n, difference.low, difference.high, difference.sd) == (1, None, None, None)


def test_no_common_seed_is_an_error_that_names_both() -> None:
    with pytest.raises(BitlensError, match=r"seeds \[1\], the other \[2\]"):
        paired_difference({1: 0.5}, {2: 0.5})


@given(mean=st.floats(-1, 1), half=st.floats(0, 1), n=st.integers(2, 50))
def test_sentence_always_agrees_with_the_interval(mean: float, half: float, n: int) -> None:
    low, high = mean - half, mean + half
    difference = PairedDifference(n=n, mean=mean, sd=half, low=low, high=high)
    sentence = verdict(difference, "cmim", "plain")
    assert ("is better than" in sentence) == (low > 0)
    assert ("is worse than" in sentence) == (high < 0)
    assert ("no difference shown" in sentence) == (low <= 0 <= high)
    assert f"n = {n} paired seeds" in sentence


@given(low=st.floats(1e-9, 0.5), width=st.floats(0, 0.5))
def test_printed_ends_lie_on_the_side_the_sentence_claims(low: float, width: float) -> None:
    mean, high = low + width / 2, low + width
    above = PairedDifference(n=3, mean=mean, sd=width, low=low, high=high)
    below = PairedDifference(n=3, mean=-mean, sd=width, low=-high, high=-low)
    for difference, better in ((above, True), (below, False)):
        found = re.search(r"CI (\S+) \.\. (\S+),", verdict(difference, "a", "b"))
        assert found is not None
        ends = [float(end) for end in found.groups()]
        assert all(end > 0 for end in ends) if better else all(end < 0 for end in ends)


def test_sentences_word_for_word() -> None:
    better = PairedDifference(n=5, mean=0.0066, sd=0.004, low=0.0012, high=0.012)
    assert verdict(better, "cmim", "plain") == (
        "cmim is better than plain by 0.66 points (95 % CI +0.12 .. +1.20, n = 5 paired seeds)"
    )
    worse = PairedDifference(n=5, mean=-0.0066, sd=0.004, low=-0.012, high=-0.0012)
    assert verdict(worse, "cmim", "plain") == (
        "cmim is worse than plain by 0.66 points (95 % CI -1.20 .. -0.12, n = 5 paired seeds)"
    )
    open_ = PairedDifference(n=5, mean=0.002, sd=0.006, low=-0.005, high=0.009)
    assert verdict(open_, "cmim", "plain") == (
        "no difference shown between cmim and plain "
        "(+0.20 points, 95 % CI -0.50 .. +0.90, n = 5 paired seeds)"
    )
    one = PairedDifference(n=1, mean=0.004, sd=None, low=None, high=None)
    assert verdict(one, "cmim", "plain") == (
        "cmim against plain: one seed only: +0.40 points, no interval; nothing can be concluded"
    )


def test_two_seeds_and_equal_differences_carry_a_caveat() -> None:
    two = paired_difference({0: 0.81, 1: 0.83}, {0: 0.80, 1: 0.80})
    assert verdict(two, "a", "b").endswith("; two seeds give a very wide interval")
    equal = paired_difference({0: 0.5, 1: 0.75, 2: 0.25}, {0: 0.25, 1: 0.5, 2: 0.0})
    assert "every seed gave the same difference" in verdict(equal, "a", "b")


def test_other_units_are_not_scaled() -> None:
    difference = PairedDifference(n=4, mean=0.5, sd=0.1, low=0.25, high=0.75)
    assert spell(difference, "nats") == ("+0.50", "+0.25", "+0.75")
    assert "better than b by 0.50 nats" in verdict(difference, "a", "b", unit="nats")
