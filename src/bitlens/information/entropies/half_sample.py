"""Half-sample (Richardson) entropy: 2 H(N) - E[H(N/2)], plug-in entropies of the set and of its halves.

The mean is over all halves (`halves`). Cost: O(sum of square roots of the distinct counts). Bias: the 1/N
term is removed. Valid: while the doubling gain H(N) - E[H(N/2)] is small; the gain itself, near 0 where the
plug-in has converged and near 1 bit where it only counts samples, is the better diagnostic of bias.
"""

from __future__ import annotations

import math

from scipy.special import xlogy

from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import plugin
from bitlens.information.entropies.halves import Halves


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """Half-sample entropy in bits; `support` is not used."""
    if fingerprint.samples == 1:
        return 0.0
    return plugin.estimate(fingerprint) + doubling_gain(fingerprint, Halves.of(fingerprint))


def doubling_gain(fingerprint: Fingerprint, halves: Halves) -> float:
    """H(N) - E[H(N/2)] in bits: what the second half of the sample added to the plug-in entropy."""
    weighted = float(halves.how_many @ xlogy(halves.times, halves.times)) / halves.samples
    return plugin.estimate(fingerprint) - (math.log(halves.samples) - weighted) / math.log(2)
