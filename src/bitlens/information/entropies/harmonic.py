"""Harmonic-number entropy of Schurmann, the same number as Zhang's series: in nats

    psi(N) - (1/N) sum_i n_i psi(n_i) = sum_i (n_i / N) (psi(N) - psi(n_i)).

Cost: O(number of distinct counts). Bias: what unseen codes hold, sum_{r >= N} (1/r) E[p (1 - p)^r] summed
over the codes; it falls exponentially where codes are not rare. Valid: few singletons (Zhang, 2012;
Schurmann, 2015). It is the observed part of the Chao-Wang-Jost estimator.
"""

from __future__ import annotations

import math

from scipy.special import digamma

from bitlens.information.counts import Fingerprint


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """Harmonic-number entropy in bits; `support` is not used."""
    times, samples = fingerprint.times, fingerprint.samples
    weighted = fingerprint.how_many @ (times * digamma(times)) / samples
    return float(digamma(samples) - weighted) / math.log(2)
