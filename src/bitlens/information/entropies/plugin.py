"""Plug-in (maximum likelihood) entropy: H = log2 N - (1/N) sum_i n_i log2 n_i.

Cost: O(number of distinct counts). Bias: never positive, -(K - 1) / (2 N ln 2) bit while the sample is
much larger than the number K of codes that occur, -(H - log2 N) once every code is new (Paninski, 2003).
Valid: exact for a data set taken as the whole input space; of the population only while N >> 2 ** H.
"""

from __future__ import annotations

import numpy as np

from bitlens.information.counts import Fingerprint


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """Plug-in entropy in bits; `support` is not used."""
    times, samples = fingerprint.times, fingerprint.samples
    return max(
        0.0, float(np.log2(samples) - fingerprint.how_many @ (times * np.log2(times)) / samples)
    )
