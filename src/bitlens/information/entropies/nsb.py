"""NSB entropy (Nemenman, Shafee, Bialek, 2002): posterior mean under a mixture of Dirichlet priors.

Given K possible codes and a concentration b, the posterior mean of the entropy is, in nats,

    psi(N + K b + 1) - sum_i (n_i + b) psi(n_i + b + 1) / (N + K b)        (codes not seen have n_i = 0)

and b is averaged over with the evidence Gamma(K b) / Gamma(N + K b) prod_i Gamma(n_i + b) / Gamma(b) and a
prior that is flat in the expected entropy xi(b) = psi(K b + 1) - psi(b + 1).

Cost: about 150 concentrations times the number of distinct counts. The posterior has one peak in
ln(K b) = `place`, so the grid of places is narrowed around it until the peak is resolved; equal steps then
converge faster than any power. Everything is kept in logarithms: K may be 2 ** 1000, or infinite as long
as some code was seen twice. Bias: smallest of all here for fair bits (D = 20, N = 60,000: -0.01 bit),
below 0.7 bit for heavy tails. Valid: some codes seen twice or more; with singletons only the value is the
prior's. Needs the support, which is 2 ** D for binary codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, gammaln, zeta

from bitlens.errors import BitlensError
from bitlens.information.counts import Fingerprint

_POINTS = 40
_FINAL_POINTS = 64
_DROP = 36.0
"""Places whose log weight is this far below the best one do not count: exp(-36) = 2e-16."""

Array = npt.NDArray[np.float64]


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """NSB entropy in bits.

    Args:
        fingerprint: counts of counts of the sample.
        support: number K of possible codes; may be infinite.

    Raises:
        BitlensError: no support, or fewer possible codes than were seen; infinitely many possible codes
            and none seen twice.
    """
    if support is None or math.isnan(support):
        raise BitlensError(
            "nsb needs the number of possible codes; give support=, 2 ** units for binary codes"
        )
    if support < fingerprint.distinct:
        raise BitlensError(
            f"support={support:g}, but {fingerprint.distinct} different codes were seen; "
            "give the number of possible codes"
        )
    if math.isinf(support) and fingerprint.distinct == fingerprint.samples:
        raise BitlensError(
            "nsb with infinite support needs a code that was seen twice; give a finite support= or "
            "more samples"
        )
    if support == 1:
        return 0.0
    return _posterior_mean(_Posterior(fingerprint, math.log(support))) / math.log(2)


@dataclass(frozen=True, eq=False)
class _Posterior:
    """The posterior over place = ln(K b); b = exp(place - log_support)."""

    fingerprint: Fingerprint
    log_support: float

    def log_weight(self, places: Array) -> Array:
        """Log of evidence times prior, per unit of place, up to a constant."""
        samples, distinct = self.fingerprint.samples, self.fingerprint.distinct
        b, kb = self._concentrations(places)
        # ln Gamma(n + b) - ln Gamma(b) = ln b + ln Gamma(n + b) - ln Gamma(1 + b); b may underflow.
        seen = gammaln(self.fingerprint.times + b[:, None]) @ self.fingerprint.how_many
        seen += distinct * (places - gammaln(1 + b))
        return seen - _log_rising(places, kb, samples) + np.log(_slope(kb) - _slope(b))

    def mean(self, places: Array) -> Array:
        """Posterior mean entropy in nats at each place."""
        times, how_many = self.fingerprint.times, self.fingerprint.how_many
        b, kb = self._concentrations(places)
        total = self.fingerprint.samples + kb
        n = times + b[:, None]
        seen = (n * digamma(n + 1)) @ how_many
        unseen = (kb - self.fingerprint.distinct * b) * digamma(b + 1)
        return digamma(total + 1) - seen / total - unseen / total

    def reach(self) -> tuple[float, float]:
        """Places beyond which the posterior holds nothing."""
        highest = min(self.log_support + math.log(1e6), 700.0)
        if self.fingerprint.distinct < self.fingerprint.samples:
            # Beyond N^2 each code seen again costs a factor 1 / (K b).
            highest = min(highest, 2 * math.log(self.fingerprint.samples) + 50)
        return math.log(1e-7), highest

    def _concentrations(self, places: Array) -> tuple[Array, Array]:
        return np.exp(places - self.log_support), np.exp(places)


def _posterior_mean(posterior: _Posterior) -> float:
    low, high = posterior.reach()
    while True:
        places = np.linspace(low, high, _POINTS)
        weight = posterior.log_weight(places)
        inside = np.flatnonzero(weight > weight.max() - _DROP)
        low = float(places[max(inside[0] - 1, 0)])
        high = float(places[min(inside[-1] + 1, _POINTS - 1)])
        if len(inside) > _POINTS // 3:
            break
    places = np.linspace(low, high, _FINAL_POINTS)
    weight = posterior.log_weight(places)
    share = np.exp(weight - weight.max())
    share[[0, -1]] /= 2
    return float(share @ posterior.mean(places) / share.sum())


def _log_rising(places: Array, kb: Array, samples: int) -> Array:
    """ln Gamma(kb + N) - ln Gamma(kb), without cancellation where kb is huge."""
    small = np.minimum(kb, 1e7)
    direct = gammaln(small + samples) - gammaln(small)
    large = np.maximum(kb, 1e7)
    ratio = np.log1p(samples / large)
    stirling = (large - 0.5) * ratio + samples * (ratio + places - 1)
    stirling += (1 / (large + samples) - 1 / large) / 12
    return np.where(kb < 1e7, direct, stirling)


def _slope(kb: Array) -> Array:
    """kb psi'(kb + 1), the change of psi(kb + 1) with ln(kb)."""
    return kb * zeta(2, kb + 1)
