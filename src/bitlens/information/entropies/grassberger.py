"""Grassberger's entropy of 2003: ln N - (1/N) sum_i n_i G(n_i), in nats, with

    G(n) = psi(n) + (-1)^n / 2 * [psi((n + 1) / 2) - psi(n / 2)].

Cost: O(number of distinct counts). Bias: below 0.01 bit for fair bits while N is about twice the number
of codes, negative and growing beyond. Valid: codes seen twice or more on average (arXiv physics/0307138).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import digamma

from bitlens.information.counts import Fingerprint


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """Grassberger's entropy in bits; `support` is not used."""
    samples = fingerprint.samples
    weighted = fingerprint.how_many @ (fingerprint.times * corrected_log(fingerprint.times))
    return float(np.log(samples) - weighted / samples) / math.log(2)


def corrected_log(times: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """G(n), which takes the place of ln n, for every count."""
    signs = np.where(times % 2 == 0, 0.5, -0.5)
    return digamma(times) + signs * (digamma((times + 1) / 2) - digamma(times / 2))
