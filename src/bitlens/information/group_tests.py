"""Two groups of runs compared without assuming a distribution, exactly also for five seeds against five.

* Mann-Whitney: the two-sided p-value of the rank sum over all (m + n choose m) equally likely ways of
  dealing the observed values to the groups. Counted, not approximated, and by mean ranks where values
  tie (several seeds at a correlation of exactly -1 do), which a table of U without ties gets wrong. 5
  against 5, separated: p = 2/252 = .0079.
* Hodges-Lehmann: the median of all m n differences a_i - b_j, with the interval between the k-th
  smallest and k-th largest of them, k from the same count. Its real confidence is at least the one asked
  for; where the groups are too small for it (3 against 3 at 95 %) there is none.
* Holm: p-values of a family made larger so that the chance of one false rejection stays below the level.

Cost: O(m (m + n)^2 m) for the count, instant for tens of runs. Bias: none. Validity: independent runs; a
shift as the alternative where the interval is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitlens.errors import BitlensError
from bitlens.information.ranks import doubled_ranks

Floats = npt.NDArray[np.float64]

MOST_RUNS = 200
"""Runs in both groups together up to which the count is made."""
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class GroupDifference:
    """How group a differs from group b.

    Attributes:
        difference: Hodges-Lehmann estimate of a - b.
        low: lower end of its interval, or None where the groups are too small for one.
        high: upper end, or None.
        confidence: what the interval really covers under a shift; at least what was asked, or None.
        p: exact two-sided p-value of the Mann-Whitney test.
        u: pairs with a_i > b_j, ties counting half.
        effect: u / (m n), the chance that a run of a exceeds one of b.
        size_a: runs in a.
        size_b: runs in b.
    """

    difference: float
    low: float | None
    high: float | None
    confidence: float | None
    p: float
    u: float
    effect: float
    size_a: int
    size_b: int


def compare_groups(
    a: npt.ArrayLike, b: npt.ArrayLike, *, confidence: float = 0.95
) -> GroupDifference:
    """Test and estimate the difference between two groups of runs.

    Args:
        a: (m,) one value a run.
        b: (n,) the other group.
        confidence: of the interval, between 0 and 1.

    Raises:
        BitlensError: an empty group, NaN or infinity, more than 200 runs, or a confidence outside (0, 1).
    """
    first, second = _read("a", a), _read("b", b)
    m, n = len(first), len(second)
    if m + n > MOST_RUNS:
        raise BitlensError(f"{m + n} runs are more than an exact test counts ({MOST_RUNS})")
    if not 0 < confidence < 1:
        raise BitlensError(f"confidence={confidence}: choose a number between 0 and 1")
    differences = np.sort((first[:, None] - second).reshape(-1))
    u = float((differences > 0).sum() + (differences == 0).sum() / 2)
    low, high, covered = _interval(differences, m, n, confidence)
    return GroupDifference(
        difference=float(np.median(differences)),
        low=low,
        high=high,
        confidence=covered,
        p=_two_sided(np.concatenate([first, second]), m),
        u=u,
        effect=u / (m * n),
        size_a=m,
        size_b=n,
    )


def adjust_holm(p_values: npt.ArrayLike) -> Floats:
    """Holm's step-down adjustment: (k,) p-values -> (k,) adjusted ones in the same order.

    The smallest is multiplied by k, the next by k - 1, and so on; none falls below the one before it, and
    none exceeds 1.

    Raises:
        BitlensError: a p-value outside [0, 1].
    """
    p = _read("p_values", p_values)
    if (p < 0).any() or (p > 1).any():
        raise BitlensError("p_values: every one must lie between 0 and 1")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _two_sided(values: Floats, m: int) -> float:
    doubled = doubled_ranks(values)
    chances = _chances_of_sums(doubled, m)
    seen = int(doubled[:m].sum())
    return float(min(1.0, 2 * min(chances[: seen + 1].sum(), chances[seen:].sum())))


def _interval(
    differences: Floats, m: int, n: int, confidence: float
) -> tuple[float | None, float | None, float | None]:
    chances = _chances_of_sums(np.arange(1, m + n + 1), m)[m * (m + 1) // 2 :]
    below = np.cumsum(chances[: m * n + 1])
    # P(U <= k - 1) on each side may be half of what is left over.
    k = int(np.searchsorted(below, (1 - confidence) / 2 + _ROUNDING, side="right"))
    if k == 0:
        return None, None, None
    return float(differences[k - 1]), float(differences[-k]), float(1 - 2 * below[k - 1])


def _chances_of_sums(ranks: npt.NDArray[np.int64], m: int) -> Floats:
    """Chance of each sum 0, 1, 2, ... of m of the ranks, all choices of m equally likely."""
    total = int(ranks.sum())
    ways = np.zeros((m + 1, total + 1))
    ways[0, 0] = 1
    for rank in ranks.tolist():
        ways[1:, rank:] += ways[:-1, : total + 1 - rank].copy()
    return ways[m] / ways[m].sum()


def _read(name: str, values: npt.ArrayLike) -> Floats:
    read = np.asarray(values, dtype=np.float64)
    if read.ndim != 1 or not len(read):
        raise BitlensError(f"{name} has shape {read.shape}; give one number a run, one run or more")
    if not np.isfinite(read).all():
        raise BitlensError(f"{name} holds NaN or infinity; leave out runs without a value")
    return read
