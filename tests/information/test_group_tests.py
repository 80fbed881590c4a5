"""Exact tests between groups, against scipy, enumeration and hand computation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bitlens.errors import BitlensError
from bitlens.information.group_tests import adjust_holm, compare_groups

values = st.lists(st.integers(-6, 6), min_size=1, max_size=6)


def test_five_against_five_apart() -> None:
    found = compare_groups([-0.9, -0.8, -0.95, -0.85, -0.7], [0.5, 0.6, 0.7, 0.8, 0.1])
    assert found.p == pytest.approx(2 / 252)
    assert round(found.p, 4) == 0.0079
    assert (found.u, found.effect) == (0, 0)
    assert compare_groups([1, 2, 3], [4, 5, 6]).p == pytest.approx(0.1)


@given(st.permutations(range(1, 12)), st.integers(1, 10))
def test_p_is_scipys_without_ties(order: list[int], m: int) -> None:
    a, b = order[:m], order[m:]
    found = compare_groups(a, b)
    theirs = stats.mannwhitneyu(a, b, method="exact")
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.u == theirs.statistic


@given(values, values)
def test_p_with_ties_by_dealing_all_ways(a: list[int], b: list[int]) -> None:
    ranks = stats.rankdata(a + b)
    sums = np.array([sum(deal) for deal in itertools.combinations(ranks, len(a))])
    seen = ranks[: len(a)].sum()
    direct = min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))
    assert compare_groups(a, b).p == pytest.approx(direct)


@given(values, values, st.sampled_from([0.5, 0.8, 0.95]))
def test_hodges_lehmann_by_brute_force(a: list[int], b: list[int], confidence: float) -> None:
    found = compare_groups(a, b, confidence=confidence)
    differences = sorted(x - y for x in a for y in b)
    assert found.difference == pytest.approx(np.median(differences))
    # The null distribution of U by dealing ranks in all ways.
    m, n = len(a), len(b)
    u = np.array([sum(deal) - m * (m - 1) // 2 for deal in itertools.combinations(range(m + n), m)])
    k = max(
        (k for k in range(1, m * n + 1) if (u <= k - 1).mean() <= (1 - confidence) / 2 + 1e-9),
        default=0,
    )
    if k == 0:
        assert (found.low, found.high, found.confidence) == (None, None, None)
        return
    assert (found.low, found.high) == (differences[k - 1], differences[-k])
    assert found.confidence == pytest.approx(1 - 2 * (u <= k - 1).mean())
    assert found.confidence >= confidence - 1e-9


def test_the_interval_covers() -> None:
    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        found = compare_groups(draw.standard_normal(5) + 1, draw.standard_normal(5))
        assert found.low is not None and found.high is not None
        inside += found.low <= 1 <= found.high
    # 96.8 % of 400, give or take three standard deviations.
    assert found.confidence == pytest.approx(1 - 8 / 252)
    assert inside / 400 == pytest.approx(0.968, abs=0.027)


def test_groups_too_small_for_an_interval() -> None:
    assert compare_groups([1, 2, 3], [7, 8, 9]).low is None
    assert compare_groups([1, 2, 3, 4], [7, 8, 9, 9.5]).low == -8.5


def test_holm_by_hand() -> None:
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert adjust_holm([0.0079]) == pytest.approx([0.0079])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_rejects_what_the_procedure_rejects(p: list[float]) -> None:
    adjusted = adjust_holm(p)
    assert (adjusted >= p).all() and (adjusted <= 1).all()
    rejected = 0
    for place, value in enumerate(sorted(p)):
        if value * (len(p) - place) > 0.05:
            break
        rejected += 1
    assert (adjusted <= 0.05).sum() == rejected


def test_errors() -> None:
    with pytest.raises(BitlensError, match="one run or more"):
        compare_groups([], [1])
    with pytest.raises(BitlensError, match="b holds NaN"):
        compare_groups([1], [float("nan")])
    with pytest.raises(BitlensError, match="between 0 and 1"):
        compare_groups([1], [2], confidence=95)
    with pytest.raises(BitlensError, match="201 runs"):
        compare_groups([1], range(200))
    with pytest.raises(BitlensError, match="between 0 and 1"):
        adjust_holm([0.5, 1.5])
