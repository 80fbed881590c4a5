"""Jackknifed plug-in entropy: N H - (N - 1) mean_i H_without_sample_i.

Cost: O(number of distinct counts), as leaving out a sample changes one count only. Bias: O(1/N^2) when N
is larger than the number of codes, large otherwise; the variance is above the plug-in's. Valid: N
well above the number of codes (Zahl, 1977).
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import plugin


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """Jackknifed entropy in bits; `support` is not used."""
    times, how_many, samples = fingerprint.times, fingerprint.how_many, fingerprint.samples
    whole = plugin.estimate(fingerprint)
    if samples == 1:
        return whole
    changed = xlogy(times - 1, times - 1) - xlogy(times, times)
    total = how_many @ xlogy(times, times) + changed
    without = (np.log(samples - 1) - total / (samples - 1)) / np.log(2)
    mean = float((how_many * times) @ without) / samples
    return samples * whole - (samples - 1) * mean
