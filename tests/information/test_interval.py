"""Standard errors against leaving samples out for real, intervals against enumerated truths."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.information.codes import Codes
from bitlens.information.contingency import tabulate
from bitlens.information.corrected import Corrected
from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import chao_wang_jost, half_sample
from bitlens.information.interval import (
    entropy_error,
    entropy_interval,
    information_error,
    information_interval,
)
from bitlens.information.measure import entropy
from bitlens.information.mutual import mutual_information
from bitlens.information.reading import Reading, read_codes

Integers = npt.NDArray[np.int64]
STILL = Corrected(cwj=2.0, nsb=2.0, drift=0.0, gain=0.0, singleton_share=0.0)


def jackknife(values: list[float]) -> float:
    n, mean = len(values), sum(values) / len(values)
    return math.sqrt((n - 1) / n * sum((value - mean) ** 2 for value in values))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_errors_are_those_of_leaving_each_sample_out(seed: int) -> None:
    draw = np.random.default_rng(seed)
    samples = int(draw.integers(2, 25))
    codes, labels = draw.integers(0, 8, samples), draw.integers(0, 3, samples)
    rest = [np.delete(np.arange(samples), k) for k in range(samples)]
    of_codes = [entropy(np.bincount(codes[kept]), "chao-wang-jost") for kept in rest]
    of_both = [mutual_information(codes[kept], labels[kept], "chao-wang-jost") for kept in rest]
    table = tabulate(codes, labels)
    whole, inside = Fingerprint.of(table.codes), list(table.per_label())
    values = [chao_wang_jost.estimate(one) for one in inside]
    assert entropy_error(whole) == pytest.approx(jackknife(of_codes), abs=1e-9)
    assert information_error(table, whole, inside, values) == pytest.approx(
        jackknife(of_both), abs=1e-9
    )


def test_a_single_sample_has_no_error() -> None:
    table = tabulate(np.array([3]), np.array([1]))
    assert information_error(table, Fingerprint.of([1]), list(table.per_label()), [0.0]) == 0


def spread_and_error(units: int, p: float, samples: int) -> tuple[float, float]:
    """Standard deviation of the Chao-Wang-Jost entropy over 60 draws, and its mean standard error."""
    values, errors = [], []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        counts = np.bincount((draw.random((samples, units)) < p) @ (1 << np.arange(units)))
        values.append(entropy(counts, "chao-wang-jost"))
        errors.append(entropy_error(Fingerprint.of(counts)))
    return float(np.std(values, ddof=1)), float(np.mean(errors))


@pytest.mark.parametrize(("units", "p"), [(6, 0.2), (8, 0.3), (12, 0.1)])
def test_the_error_is_the_spread_of_the_estimate(units: int, p: float) -> None:
    spread, error = spread_and_error(units, p, 2000)
    assert error == pytest.approx(spread, rel=0.3)


def test_the_error_is_on_the_safe_side_when_most_codes_are_new() -> None:
    spread, error = spread_and_error(12, 0.5, 1000)
    assert spread < error < 2 * spread


def test_corrections_know_how_they_would_be_with_half_the_sample() -> None:
    counts = np.bincount(np.random.default_rng(0).integers(0, 300, 2000))
    found = Corrected.of(Fingerprint.of(counts), 512.0)
    draw, halves = np.random.default_rng(1), []
    for _ in range(60):
        chosen = draw.permutation(np.repeat(np.arange(len(counts)), counts))[:1000]
        halves.append([entropy(np.bincount(chosen), name) for name in ("plugin", "chao-wang-jost")])
    plugin_half, cwj_half = np.mean(halves, axis=0)
    slack = 4 * np.std(halves, axis=0) / math.sqrt(60)
    assert found.gain == pytest.approx(entropy(counts) - plugin_half, abs=slack[0])
    assert found.drift == pytest.approx(found.cwj - cwj_half, abs=slack[1] + 1e-3)
    assert found.nsb == entropy(counts, "nsb", 512)
    assert found.gain == pytest.approx(entropy(counts, "half-sample") - entropy(counts))
    assert half_sample.estimate(Fingerprint.of([1])) == 0


def test_a_mean_weighs_parts_by_their_samples() -> None:
    other = replace(STILL, cwj=6.0, nsb=4.0, drift=1.0, gain=0.5, singleton_share=1.0)
    mean = Corrected.mean([STILL, other], np.array([3, 1]))
    expected = Corrected(cwj=3.0, nsb=2.5, drift=0.25, gain=0.125, singleton_share=0.25)
    assert mean == expected
    assert Corrected.mean([STILL, replace(other, nsb=None)], np.array([3, 1])).nsb is None


def test_an_interval_is_the_error_around_the_estimate() -> None:
    low, high = entropy_interval(STILL, error=0.1, plugin=1.9, capacity=9)
    assert (low, high) == pytest.approx((2 - 0.196, 2 + 0.196), abs=1e-4)
    low, high = information_interval(STILL, replace(STILL, cwj=1.5, nsb=1.5), error=0.1, ceiling=9)
    assert (low, high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-4)


def test_disagreement_widens_both_sides_and_drift_the_side_it_goes_to() -> None:
    rising = replace(STILL, nsb=2.3, drift=0.2)
    assert entropy_interval(rising, error=0, plugin=1, capacity=9) == pytest.approx((1.7, 2.5))
    falling = replace(STILL, drift=-0.2)
    assert entropy_interval(falling, error=0, plugin=1, capacity=9) == pytest.approx((1.8, 2.0))
    inside = replace(rising, cwj=1.5, nsb=1.6)
    # Apart: I = 0.5 by CWJ, 0.7 by NSB; H(T) may lack 0.3 + 0.2, H(T|Y) 0.1 + 0.2.
    both = information_interval(rising, inside, error=0, ceiling=9)
    assert both == pytest.approx((0.5 - 0.2 - 0.2, 0.5 + 0.3 + 0.2))


def test_intervals_stay_within_what_is_possible() -> None:
    wide = replace(STILL, nsb=9.0, drift=9.0)
    assert entropy_interval(wide, error=1, plugin=1, capacity=3) == (0, 3)
    assert information_interval(wide, wide, error=1, ceiling=1) == (0, 1)


def test_without_a_second_estimate_everything_stays_possible() -> None:
    alone = replace(STILL, nsb=None)
    assert entropy_interval(alone, error=0.1, plugin=1.9, capacity=9) == (1.9, 9)
    assert information_interval(alone, STILL, error=0.1, ceiling=3) == (0, 3)
    assert information_interval(STILL, alone, error=0.1, ceiling=3) == (0, 3)


def noisy_copies(samples: int, units: int, flip: float, seed: int) -> tuple[Reading, float, float]:
    """A fair label of two, copied to every unit through a channel; the reading and both truths."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, samples)
    bits = (draw.random((samples, units)) < flip) ^ (labels[:, None] == 1)
    ids = (bits @ (1 << np.arange(units))).astype(np.uint64)
    on = np.array([k.bit_count() for k in range(1 << units)])
    p = flip**on * (1 - flip) ** (units - on)
    mixture = (p + p[::-1]) / 2
    whole = float(-(mixture @ np.log2(mixture)))
    inside = float(-(p @ np.log2(p)))
    return read_codes(Codes(ids, units), labels, permutations=0), whole, whole - inside


@pytest.mark.parametrize(
    ("samples", "units", "flip"), [(1_000, 4, 0.3), (2_000, 8, 0.3), (2_000, 10, 0.1)]
)
def test_intervals_hold_the_truth_where_the_flag_says_so(
    samples: int, units: int, flip: float
) -> None:
    held = []
    for seed in range(60):
        reading, whole, information = noisy_copies(samples, units, flip, seed)
        assert reading.flag in ("reliable", "corrected")
        held.append(
            (
                reading.entropy_low <= whole <= reading.entropy_high,
                reading.information_low <= information <= reading.information_high,
            )
        )
    # 0.86 of 60 less two standard deviations of such a count.
    assert np.sum(held, axis=0).min() >= 46
