"""Where a plug-in entropy can be trusted: its exact error for D fair bits measured on N samples.

For K = 2^D equally likely codes each sample meets M others with the
same code, M ~ Binomial(N - 1, 1/K), and the expectation of the plug-in is one sum:

    E[H_plug] = log2 N - E[log2(1 + M)],     bias = E[H_plug] - D.

Cost: one sum of about 24 standard deviations of M + 80 terms for each pair (N, D); exact to rounding.
Two regimes, which `well_sampled_bias` and `sparse_bias` approximate:

* N >> K: bias = -(K - 1) / (2 N ln 2) (Miller 1955). Within .05 bit from N = 14 K on, which is
  D <= log2 N - 3.85.
* N << K: E[H_plug] = log2 N - (N - 1) / K: every expected pair of equal codes costs 2/N bit, and the
  plug-in says nothing but how many samples there are.

Validity: fair independent bits. Peaked codes of the same width err less (H(T) in place of D is the rule of
thumb, with a margin, since heavy tails converge slowly); `largest_possible_bias` holds for any. D may be
any real number >= 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitlens.errors import BitlensError

Floats = npt.NDArray[np.float64]

_DEVIATIONS = 12.0
_MARGIN = 40
_HALVINGS = 45


def plugin_bias(samples: npt.ArrayLike, units: npt.ArrayLike) -> Floats:
    """Expected error E[H_plug] - D in bits for D fair bits; never positive.

    Args:
        samples: N, whole numbers of at least 1; broadcast against `units`.
        units: D, real numbers of at least 0.

    Returns:
        The error for every pair, in the broadcast shape.

    Raises:
        BitlensError: N or D out of range.
    """
    n, d = _read(samples, units)
    return np.array(
        [_exact_bias(int(a), float(b)) for a, b in zip(n.flat, d.flat, strict=True)]
    ).reshape(n.shape)


def expected_entropy(samples: npt.ArrayLike, units: npt.ArrayLike) -> Floats:
    """Expected plug-in entropy in bits of D fair bits at N samples; arguments as `plugin_bias`."""
    return plugin_bias(samples, units) + np.asarray(units, dtype=np.float64)


def well_sampled_bias(samples: npt.ArrayLike, units: npt.ArrayLike) -> Floats:
    """Miller's -(2^D - 1) / (2 N ln 2), the error for N >> 2^D; arguments as `plugin_bias`."""
    n, d = _read(samples, units)
    with np.errstate(over="ignore"):
        return -np.expm1(d * np.log(2)) / (2 * n * np.log(2))


def sparse_bias(samples: npt.ArrayLike, units: npt.ArrayLike) -> Floats:
    """log2 N - (N - 1) / 2^D - D, the error for N << 2^D; arguments as `plugin_bias`."""
    n, d = _read(samples, units)
    return np.log2(n) - (n - 1) * np.exp2(-d) - d


def largest_possible_bias(samples: npt.ArrayLike, units: npt.ArrayLike) -> Floats:
    """-log2(1 + (2^D - 1) / N), beyond which no distribution on 2^D codes errs (Paninski 2003)."""
    n, d = _read(samples, units)
    # log2(N - 1 + 2^D) - log2 N, without a power that overflows.
    return np.log2(n) - np.logaddexp2(np.log2(np.maximum(n - 1, np.finfo(float).tiny)), d)


def boundary(samples: npt.ArrayLike, bias: float) -> Floats:
    """The largest real D whose plug-in error at N samples is at most `bias` bits.

    Args:
        samples: N, whole numbers of at least 1, any shape.
        bias: allowed error in bits, a positive number.

    Returns:
        D in the shape of `samples`, to a relative 1e-12 or so.

    Raises:
        BitlensError: N out of range, or a bias that is not positive.
    """
    if not (np.isfinite(bias) and bias > 0):
        raise BitlensError(f"bias={bias}: the allowed error must be a positive number of bits")
    n, low = _read(samples, 0.0)
    # At this upper end even a saturated plug-in, log2 N bits, errs by more than `bias`.
    low, high = low.copy(), np.log2(n) + bias
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        within = -plugin_bias(n, middle) <= bias
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return low


def _exact_bias(samples: int, units: float) -> float:
    if units == 0 or samples == 1:
        return -units if samples == 1 else 0.0
    others = samples - 1
    mean = others * 2.0**-units
    deviation = np.sqrt(mean * -np.expm1(-units * np.log(2)))
    reach = _DEVIATIONS * deviation + _MARGIN
    low, high = max(0, int(mean - reach)), min(others, int(mean + reach) + 1)
    met = np.arange(low, high + 1, dtype=np.float64)
    # Ratios of neighbouring probabilities; the sum is normalised, so no factorial is needed.
    odds = -units * np.log(2) - np.log(-np.expm1(-units * np.log(2)))
    logs = np.concatenate([[0.0], np.cumsum(np.log((others - met[:-1]) / met[1:]) + odds)])
    weights = np.exp(logs - logs.max())
    return float(np.log2(samples) - weights @ np.log2(1 + met) / weights.sum() - units)


def _read(samples: npt.ArrayLike, units: npt.ArrayLike) -> tuple[Floats, Floats]:
    n, d = np.broadcast_arrays(
        np.asarray(samples, dtype=np.float64), np.asarray(units, dtype=np.float64)
    )
    if not (np.isfinite(n) & (n >= 1) & (n == np.floor(n))).all():
        raise BitlensError("samples: give whole numbers of samples, 1 or more")
    if not (np.isfinite(d) & (d >= 0)).all():
        raise BitlensError("units: give finite numbers of bits, 0 or more")
    return n, d
