"""Chao-Shen entropy: Horvitz-Thompson sum over seen codes with Good-Turing coverage C = 1 - f1 / N,

    - sum_i q_i ln q_i / (1 - (1 - q_i)^N)   in nats, with q_i = C n_i / N.

Cost: O(number of distinct counts). Bias: some +0.2 bit in mid-range (D = 12 fair bits, N = 10,000), small
when few codes are new and, by luck more than design, when nearly all are. Valid: as a second opinion
(Chao and Shen, 2003). With singletons only, f1 = N - 1 is put in so that the coverage is not zero.
"""

from __future__ import annotations

import math

import numpy as np

from bitlens.information.counts import Fingerprint


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """Chao-Shen entropy in bits; `support` is not used."""
    samples = fingerprint.samples
    if samples == 1:
        return 0.0
    singletons = min(fingerprint.seen(1), samples - 1)
    share = (1 - singletons / samples) * fingerprint.times / samples
    if len(share) == 1 and share[0] == 1:
        return 0.0
    seen = -np.expm1(samples * np.log1p(-share))
    return float(-(fingerprint.how_many @ (share * np.log(share) / seen))) / math.log(2)
