"""Entropy estimators against their formulas written out, and against how they are known to err."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

import bitlens.information.entropies as entropies
from bitlens.errors import BitlensError
from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import ESTIMATORS, chao_wang_jost, get, grassberger, half_sample
from bitlens.information.entropies.halves import Halves
from bitlens.information.measure import entropy

SAMPLES = [
    [1],
    [5],
    [1, 1],
    [2, 1],
    [3, 1, 1],
    [2, 2, 1, 1, 1],
    [5, 3, 2, 1, 1],
    [7, 7, 1],
    [1] * 6,
]
counts_lists = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def plugin(counts: list[int]) -> float:
    total = sum(counts)
    return -sum(n / total * math.log2(n / total) for n in counts)


def jackknife(counts: list[int]) -> float:
    total = sum(counts)
    if total == 1:
        return 0.0
    without = 0.0
    for place, n in enumerate(counts):
        left = [m - (k == place) for k, m in enumerate(counts)]
        without += n / total * plugin([m for m in left if m])
    return total * plugin(counts) - (total - 1) * without


def zhang(counts: list[int]) -> float:
    """Zhang's series, one product per term: O(N K)."""
    total, nats = sum(counts), 0.0
    for n in counts:
        product, inner = 1.0, 0.0
        for v in range(1, total - n + 1):
            product *= 1 - (n - 1) / (total - v)
            inner += product / v
        nats += n / total * inner
    return nats / math.log(2)


def grassberger_2003(counts: list[int]) -> float:
    """By the recursion G(2m + 2) = G(2m) + 2 / (2m + 1), G(2m + 1) = G(2m)."""
    g = [0.0, -np.euler_gamma - math.log(2), 2 - np.euler_gamma - math.log(2)]
    for n in range(3, max(counts) + 1):
        g.append(g[n - 1] if n % 2 else g[n - 2] + 2 / (n - 1))
    total = sum(counts)
    return (math.log(total) - sum(n * g[n] for n in counts) / total) / math.log(2)


def chao_shen(counts: list[int]) -> float:
    total, single = sum(counts), counts.count(1)
    if total == 1:
        return 0.0
    cover = 1 - min(single, total - 1) / total
    shares = [cover * n / total for n in counts]
    terms = [0.0 if p == 1 else p * math.log2(p) / (1 - (1 - p) ** total) for p in shares]
    return -sum(terms)


def cwj(counts: list[int]) -> float:
    total, single, double = sum(counts), counts.count(1), counts.count(2)
    nats = sum(n / total * (digamma(total) - digamma(n)) for n in counts)
    if not single:
        return nats / math.log(2)
    if double:
        a = 2 * double / ((total - 1) * single + 2 * double)
    else:
        a = 2 / ((total - 1) * (single - 1) + 2)
    if a != 1:
        tail = -math.log(a) - sum((1 - a) ** r / r for r in range(1, total))
        nats += single / total * (1 - a) ** (1 - total) * tail
    return nats / math.log(2)


def miller_madow(counts: list[int]) -> float:
    return plugin(counts) + (len(counts) - 1) / (2 * sum(counts)) * math.log2(math.e)


def half(counts: list[int]) -> float:
    """2 H(N) minus the mean of H over every half that can be drawn."""
    whole = [code for code, n in enumerate(counts) for _ in range(n)]
    if len(whole) == 1:
        return 0.0
    drawn = itertools.combinations(whole, len(whole) // 2)
    values = [plugin(list(Counter(part).values())) for part in drawn]
    return 2 * plugin(counts) - sum(values) / len(values)


def renyi2(counts: list[int]) -> float:
    whole = [code for code, n in enumerate(counts) for _ in range(n)]
    pairs = list(itertools.combinations(whole, 2))
    same = sum(a == b for a, b in pairs)
    return -math.log2(same / len(pairs)) if same else math.inf


FORMULAS: dict[str, Callable[[list[int]], float]] = {
    "plugin": plugin,
    "miller-madow": miller_madow,
    "grassberger": grassberger_2003,
    "harmonic": zhang,
    "jackknife": jackknife,
    "half-sample": half,
    "chao-shen": chao_shen,
    "chao-wang-jost": cwj,
    "renyi2": renyi2,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("counts", SAMPLES, ids=str)
def test_an_estimator_is_its_formula(name: str, counts: list[int]) -> None:
    assert get(name)(Fingerprint.of(counts)) == pytest.approx(FORMULAS[name](counts), abs=1e-9)


@pytest.mark.parametrize(
    "name", [name for name in FORMULAS if name not in ("half-sample", "renyi2")]
)
@given(counts=counts_lists)
@settings(max_examples=60, deadline=None)
def test_an_estimator_is_its_formula_on_any_counts(name: str, counts: list[int]) -> None:
    assert get(name)(Fingerprint.of(counts)) == pytest.approx(FORMULAS[name](counts), abs=1e-8)


def test_grassbergers_first_values() -> None:
    assert grassberger.corrected_log(np.array([1, 2])) == pytest.approx(
        [-1.27036, 0.72964], abs=1e-5
    )


@pytest.mark.parametrize("samples", [3, 40, 1000])
@pytest.mark.parametrize("rate", [1e-9, 1e-4, 0.01, 0.2, 0.7, 0.99])
def test_the_unseen_part_sums_its_series(samples: int, rate: float) -> None:
    # (1 - A)^(1 - N) sum_{r >= N} (1 - A)^r / r, compared with 1e7 terms and an integral for the rest.
    r = np.arange(samples, samples + 2_000_000, dtype=np.float64)
    series = np.exp((r - samples + 1) * math.log1p(-rate)) @ (1 / r)
    if rate * len(r) < 40:
        from scipy.special import exp1

        end = samples + len(r) - 0.5
        series += exp1(-math.log1p(-rate) * end) * math.exp((1 - samples) * math.log1p(-rate))
    assert chao_wang_jost._tail(rate, samples) == pytest.approx(series, rel=1e-6)


@given(counts=counts_lists)
@settings(max_examples=60, deadline=None)
def test_leaving_one_out_is_estimating_without_it(counts: list[int]) -> None:
    whole = Fingerprint.of(counts)
    if whole.samples == 1:
        assert chao_wang_jost.leave_one_out(whole).tolist() == [0.0]
        return
    for n, value in zip(whole.times, chao_wang_jost.leave_one_out(whole), strict=True):
        left = [*counts]
        left.remove(n)
        expected = chao_wang_jost.estimate(Fingerprint.of([*left, n - 1]))
        assert value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("counts", [[4, 3, 1, 1], [6, 2, 2, 1], [1] * 7, [9]], ids=str)
def test_halves_have_the_counts_of_every_half(counts: list[int]) -> None:
    whole = [code for code, n in enumerate(counts) for _ in range(n)]
    seen: Counter[int] = Counter()
    drawn = list(itertools.combinations(whole, len(whole) // 2))
    for part in drawn:
        seen.update(Counter(part).values())
    halves = Halves.of(Fingerprint.of(counts))
    for times in range(1, max(counts) + 1):
        assert halves.seen(times) == pytest.approx(seen[times] / len(drawn), abs=1e-12)
    assert halves.how_many @ halves.times == pytest.approx(halves.samples)


def test_large_counts_in_halves_are_cut_without_loss() -> None:
    counts = Fingerprint.of([30_000, 20_000, 9_000, 999, 1])
    halves = Halves.of(counts)
    assert halves.how_many.sum() == pytest.approx(5)
    assert halves.how_many @ halves.times == pytest.approx(30_000)
    assert half_sample.doubling_gain(counts, halves) == pytest.approx(
        4 / (2 * 60_000 * math.log(2)), rel=0.5
    )


def test_the_estimate_of_halves_is_that_of_their_mean_counts() -> None:
    # Two codes, seen 3 times each: a half of 3 has counts (3), (2, 1) with chances 0.1 and 0.9.
    halves = Halves.of(Fingerprint.of([3, 3]))
    a = 2 * 0.9 / (2 * 0.9 + 2 * 0.9)
    seen = 0.9 * (2 / 3 * (digamma(3) - digamma(2)) + 1 / 3 * (digamma(3) - digamma(1)))
    unseen = 0.9 / 3 * (1 - a) ** -2 * (-math.log(a) - (1 - a) - (1 - a) ** 2 / 2)
    assert chao_wang_jost.half_estimate(halves) == pytest.approx((seen + unseen) / math.log(2))


# Mean error in bits of 8 draws of D independent bits that are 1 with probability p.
METHODS = ("plugin", "miller-madow", "grassberger", "chao-shen", "chao-wang-jost", "nsb")
ERRORS = {
    (1_000, 8, 0.5): (-0.202, -0.023, -0.004, 0.011, -0.006, -0.018),
    (1_000, 12, 0.5): (-2.27, -1.63, -0.83, 0.04, -0.01, -0.06),
    (1_000, 16, 0.1): (-0.81, -0.58, -0.37, -0.29, -0.25, -0.19),
    (10_000, 12, 0.5): (-0.330, -0.060, -0.002, 0.222, 0.000, -0.005),
    (10_000, 16, 0.5): (-2.86, -2.19, -1.29, 0.01, -0.02, -0.03),
    (10_000, 16, 0.1): (-0.252, -0.162, -0.098, 0.013, -0.076, -0.027),
}


def bits_fingerprint(seed: int, samples: int, units: int, p: float) -> Fingerprint:
    draw = np.random.default_rng(seed)
    codes = (draw.random((samples, units)) < p) @ (1 << np.arange(units))
    return Fingerprint.of(np.bincount(codes))


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_the_errors_of_estimators_are_the_known_ones(case: tuple[int, int, float]) -> None:
    samples, units, p = case
    truth = units * plugin([round(100 * p), round(100 * (1 - p))])
    drawn = [bits_fingerprint(seed, samples, units, p) for seed in range(8)]
    for method, known in zip(METHODS, ERRORS[case], strict=True):
        errors = np.array([get(method)(one, 2.0**units) for one in drawn]) - truth
        # The known means are of 8 draws too, and rounded.
        assert errors.mean() == pytest.approx(known, abs=4 * errors.std(ddof=1) * 0.5 + 0.006), (
            method
        )


def test_the_mean_plugin_entropy_of_twelve_fair_bits() -> None:
    values = [entropy(bits_fingerprint(seed, 1_000, 12, 0.5)) for seed in range(40)]
    assert np.mean(values) == pytest.approx(9.7337, abs=0.02)


def test_the_collision_entropy_reaches_further_than_the_samples() -> None:
    draw = np.random.default_rng(0)
    counts = Fingerprint.of(np.unique(draw.integers(0, 1 << 20, 60_000), return_counts=True)[1])
    assert entropy(counts) < 16
    assert entropy(counts, "renyi2") == pytest.approx(20, abs=0.15)


@given(counts=counts_lists)
def test_order_and_zeros_do_not_matter(counts: list[int]) -> None:
    assert entropy([*counts[::-1], 0]) == entropy(counts)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_code_has_no_entropy(name: str) -> None:
    # Grassberger's G(N) is ln N but for O(1 / N^2); NSB never rules out unseen codes.
    slack = {"nsb": 0.02, "grassberger": 1e-6}.get(name, 1e-12)
    assert get(name)(Fingerprint.of([1000]), 256) == pytest.approx(0, abs=slack)


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"renyi2"}))
def test_every_estimator_takes_a_single_sample(name: str) -> None:
    value = get(name)(Fingerprint.of([1]), 4)
    assert 0 <= value <= 2


def test_the_list_of_estimators_is_complete() -> None:
    folder = Path(entropies.__file__).parent
    files = {file.stem for file in folder.glob("*.py")} - {"__init__", "halves"}
    assert {place.rpartition(".")[2].partition(":")[0] for place in ESTIMATORS.values()} == files


def test_an_unknown_estimator_names_near_ones() -> None:
    with pytest.raises(BitlensError, match="did you mean grassberger"):
        entropy([1, 2], "grasberger")


def test_counts_must_be_counts() -> None:
    with pytest.raises(BitlensError, match="whole number"):
        entropy([0.5, 1.5])
