"""Means over all random halves of a sample, in closed form.

A code seen n times in N samples is seen k times in a random half with the hypergeometric chance
C(n, k) C(N - n, h - k) / C(N, h), h = N // 2. So the mean over all halves of any sum over codes of a function
of their counts needs no drawing. Cost: O(sum of the square roots of the distinct counts).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from bitlens.information.counts import Fingerprint

_REACH = 4.5
"""Times sqrt(n): nine standard deviations of a half's share of n samples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Halves:
    """The counts that a code can have in a half, and how many codes have them on average.

    Attributes:
        samples: size h = N // 2 of a half.
        times: (m,) int64, counts in a half, 0 among them; repeated for every count in the whole.
        how_many: (m,) float64, mean number of codes with that count.
    """

    samples: int
    times: npt.NDArray[np.int64]
    how_many: npt.NDArray[np.float64]

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> Halves:
        """All halves of a sample of two or more."""
        whole, half, times = fingerprint.samples, fingerprint.samples // 2, fingerprint.times
        reach = np.ceil(_REACH * np.sqrt(times)).astype(np.int64)
        centre = times * half // whole
        low = np.maximum(np.maximum(centre - reach, times - (whole - half)), 0)
        high = np.minimum(np.minimum(centre + reach + 1, times), half)
        sizes = high - low + 1
        starts = np.cumsum(sizes) - sizes
        n = np.repeat(times, sizes)
        k = np.arange(sizes.sum()) - np.repeat(starts - low, sizes)
        ln = _log_factorials(whole)
        chance = ln[n] - ln[k] - ln[n - k] + ln[whole - n] - ln[half - k] - ln[whole - n - half + k]
        chance += ln[half] + ln[whole - half] - ln[whole]
        how_many = np.exp(chance) * np.repeat(fingerprint.how_many, sizes)
        return cls(samples=half, times=k, how_many=how_many)

    def seen(self, times: int) -> float:
        """Mean number of codes seen exactly `times` times in a half."""
        return float(self.how_many[self.times == times].sum())


@lru_cache(maxsize=16)
def _log_factorials(largest: int) -> npt.NDArray[np.float64]:
    return gammaln(np.arange(1, largest + 2, dtype=np.float64))
