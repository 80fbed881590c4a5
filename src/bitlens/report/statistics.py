"""Means, spreads and the paired t-interval over seeds, and the sentence an interval allows.

Two variants trained from the same seed share their initial weights, the order of the images and
their augmentation, so the difference is taken seed by seed. The interval is Student's t on those
differences: mean +- t(0.975, n - 1) * sd / sqrt(n) (Student, Biometrika 6, 1908). It covers the
variation between seeds, not the choice of test images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy
import scipy.stats

from bitlens.errors import BitlensError
from bitlens.report.quantities import ABSENT, decimals, signed

COVERAGE = 0.95


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Count, mean and sample standard deviation (ddof = 1; None for a single value)."""

    n: int
    mean: float
    sd: float | None


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Mean and spread of a - b over n common seeds, with a 95 % interval.

    `sd`, `low` and `high` are None for a single seed: one difference has no interval.
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


def summarize(values: Iterable[float]) -> Summary:
    """Count, mean and standard deviation of `values`.

    Raises:
        BitlensError: when there are no values, or one of them is not finite.
    """
    array = _finite(values)
    if array.size == 0:
        raise BitlensError("cannot summarize an empty list of values; give at least one")
    sd = float(array.std(ddof=1)) if array.size > 1 else None
    return Summary(n=array.size, mean=float(array.mean()), sd=sd)


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> PairedDifference:
    """The mean of a - b over the seeds both have, with its 95 % t-interval.

    Args:
        a: value of each seed, for example the test accuracy as a fraction.
        b: the same of the baseline.

    Raises:
        BitlensError: when the two have no seed in common, or a value is not finite.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise BitlensError(
            f"no seed in common: one side has seeds {sorted(a)}, the other {sorted(b)}; "
            "train both with the same seeds"
        )
    differences = summarize(a[seed] - b[seed] for seed in seeds)
    if differences.sd is None:
        return PairedDifference(n=1, mean=differences.mean, sd=None, low=None, high=None)
    n = differences.n
    quantile = float(scipy.stats.t.ppf((1 + COVERAGE) / 2, n - 1))
    half = quantile * differences.sd / math.sqrt(n)
    return PairedDifference(
        n=n,
        mean=differences.mean,
        sd=differences.sd,
        low=differences.mean - half,
        high=differences.mean + half,
    )


def verdict(difference: PairedDifference, name: str, baseline: str, unit: str = "points") -> str:
    """One sentence that claims exactly what the interval allows, where larger values are better.

    Args:
        difference: `name` minus `baseline`.
        name: the variant the sentence is about.
        baseline: what it is compared with.
        unit: "points" multiplies by 100 (accuracies are fractions); any other unit is printed
            as it is, unscaled.
    """
    mean, low, high = spell(difference, unit)
    if difference.low is None or difference.high is None:
        return (
            f"{name} against {baseline}: one seed only: {mean} {unit}, no interval; "
            "nothing can be concluded"
        )
    interval = f"95 % CI {low} .. {high}, n = {difference.n} paired seeds"
    if difference.low > 0:
        claim = f"{name} is better than {baseline} by {mean[1:]} {unit} ({interval})"
    elif difference.high < 0:
        claim = f"{name} is worse than {baseline} by {mean[1:]} {unit} ({interval})"
    else:
        claim = f"no difference shown between {name} and {baseline} ({mean} {unit}, {interval})"
    return claim + _caveat(difference)


def spell(difference: PairedDifference, unit: str = "points") -> tuple[str, str, str]:
    """Mean, low and high as text, low and high "-" for a single seed.

    An end that decides the verdict is never rounded to zero: an interval just above zero gets as
    many decimals as it takes to see that it is above.
    """
    scale = 100 if unit == "points" else 1
    if difference.low is None or difference.high is None:
        return signed(scale * difference.mean), ABSENT, ABSENT
    low, high = scale * difference.low, scale * difference.high
    digits = decimals(low) if low > 0 else decimals(high) if high < 0 else 2
    return signed(scale * difference.mean, digits), signed(low, digits), signed(high, digits)


def _caveat(difference: PairedDifference) -> str:
    if difference.sd is not None and difference.sd < 1e-12:
        return "; every seed gave the same difference, so the interval has no width to rely on"
    if difference.n == 2:
        return "; two seeds give a very wide interval"
    return ""


def _finite(values: Iterable[float]) -> numpy.ndarray:
    array = numpy.asarray(list(values), dtype=numpy.float64)
    if not numpy.isfinite(array).all():
        raise BitlensError(
            f"a value is not finite: {array.tolist()}; leave out the run that diverged"
        )
    return array
