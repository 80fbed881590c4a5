"""Renyi-2 (collision) entropy: - log2 of sum_i n_i (n_i - 1) / (N (N - 1)).

The inside of the logarithm is an unbiased estimate of the chance that two samples share their code.
Cost: O(number of distinct counts). Bias: small while collisions are many. Valid: up to about 2 log2 N
bits, far beyond any estimator of Shannon entropy. H >= H2, so it is a lower bound of the entropy, with
equality for codes that are all equally likely.
"""

from __future__ import annotations

import math

from bitlens.information.counts import Fingerprint


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """Collision entropy in bits, infinite when no code was seen twice; `support` is not used."""
    samples = fingerprint.samples
    pairs = int(fingerprint.how_many @ (fingerprint.times * (fingerprint.times - 1)))
    if pairs == 0:
        return math.inf
    return max(0.0, -math.log2(pairs / (samples * (samples - 1))))
