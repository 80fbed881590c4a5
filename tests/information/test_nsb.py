"""NSB against an integral over the expected entropy, its roots solved one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import digamma, gammaln

from bitlens.errors import BitlensError
from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import nsb
from bitlens.information.measure import entropy

REFERENCE = {
    (2, 2): (2, 0.9034),
    (2, 1): (2, 0.8497),
    (5, 3, 2): (3, 1.4609),
    (2, 2, 1, 1, 1): (5, 2.1713),
    (4, 3, 1, 2, 6): (8, 2.3687),
}


def by_quadrature(counts: list[int], support: float) -> float:
    """Posterior mean entropy in bits, integrated over xi on [0, ln K]."""
    seen, total = np.array(counts, dtype=float), sum(counts)
    unseen = support - len(counts)

    def expected(b: float) -> float:
        return float(digamma(support * b + 1) - digamma(b + 1))

    def log_evidence(b: float) -> float:
        prior = gammaln(support * b) - gammaln(total + support * b)
        return float(prior + (gammaln(seen + b) - gammaln(b)).sum())

    def mean(b: float) -> float:
        rest = unseen * b * digamma(b + 1)
        inside = ((seen + b) * digamma(seen + b + 1)).sum() + rest
        return float(digamma(total + support * b + 1) - inside / (total + support * b))

    def concentration(xi: float) -> float:
        return math.exp(brentq(lambda t: expected(math.exp(t)) - xi, -40, 25, xtol=1e-12))

    ceiling = math.log(support)
    grid = np.linspace(1e-4, 1 - 1e-4, 400) * ceiling
    best = max(log_evidence(concentration(xi)) for xi in grid)
    peak = max(grid, key=lambda xi: log_evidence(concentration(xi)))

    def weight(xi: float) -> float:
        return math.exp(log_evidence(concentration(xi)) - best)

    ends = (1e-9 * ceiling, (1 - 1e-7) * ceiling)
    options = {"points": [peak], "limit": 200, "epsabs": 1e-10, "epsrel": 1e-7}
    above = quad(lambda xi: weight(xi) * mean(concentration(xi)), *ends, **options)[0]
    return above / quad(weight, *ends, **options)[0] / math.log(2)


@pytest.mark.parametrize("counts", REFERENCE, ids=str)
def test_reference_values(counts: tuple[int, ...]) -> None:
    support, value = REFERENCE[counts]
    assert entropy(counts, "nsb", support) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(
    ("counts", "support"),
    [
        ([2, 1], 2),
        ([4, 3, 1, 2, 6], 8),
        ([1, 1, 1, 2], 64),
        ([30, 5, 1], 4),
        ([3, 2] + [1] * 20, 4096),
        ([12, 11, 9, 13, 10, 14, 8, 7], 8),
    ],
    ids=str,
)
def test_the_grid_agrees_with_the_integral(counts: list[int], support: int) -> None:
    expected = by_quadrature(counts, support)
    assert entropy(counts, "nsb", support) == pytest.approx(expected, abs=2e-4)


def test_a_large_sample_agrees_with_a_fine_fixed_grid() -> None:
    draw = np.random.default_rng(1)
    codes = (draw.random((10_000, 12)) < 0.3) @ (1 << np.arange(12))
    fingerprint = Fingerprint.of(np.bincount(codes))
    posterior = nsb._Posterior(fingerprint, math.log(4096))
    places = np.linspace(-2, 14, 20_000)
    weight = posterior.log_weight(places)
    share = np.exp(weight - weight.max())
    expected = share @ posterior.mean(places) / share.sum() / math.log(2)
    assert nsb.estimate(fingerprint, 4096.0) == pytest.approx(expected, abs=1e-7)


def test_huge_and_infinite_supports_agree_once_codes_repeat() -> None:
    counts = [3, 2, 2] + [1] * 30
    huge = entropy(counts, "nsb", 2.0**1000)
    assert entropy(counts, "nsb", math.inf) == pytest.approx(huge, abs=1e-9)
    assert entropy(counts, "nsb", 2.0**60) == pytest.approx(huge, abs=1e-3)
    assert huge > entropy(counts)


def test_only_singletons_leave_the_prior() -> None:
    # Without a coincidence the posterior follows the prior up to the support: the value grows with it.
    values = [entropy([1] * 50, "nsb", 2.0**units) for units in (10, 20, 100, 1000)]
    assert values == sorted(values)
    assert values[-1] > 100


def test_a_support_of_one_has_no_entropy() -> None:
    assert entropy([7], "nsb", 1) == 0


def test_estimates_stay_within_the_support() -> None:
    for units in (1, 2, 3, 6):
        codes = np.random.default_rng(units).integers(0, 1 << units, 200)
        assert 0 <= entropy(np.bincount(codes), "nsb", 1 << units) <= units


@pytest.mark.parametrize(
    ("counts", "support", "message"),
    [
        ([2, 1], None, "needs the number of possible codes"),
        ([2, 1], math.nan, "needs the number of possible codes"),
        ([1, 1, 1], 2, "3 different codes were seen"),
        ([1, 1, 1], math.inf, "a code that was seen twice"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    counts: list[int], support: float | None, message: str
) -> None:
    with pytest.raises(BitlensError, match=message):
        entropy(counts, "nsb", support)
