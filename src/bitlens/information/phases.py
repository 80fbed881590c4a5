"""Does a layer fit first and compress later, or both at once? Statistics of one path in the plane.

A path is x = I(X;T) and y = I(T;Y) of one layer at checkpoints s_0 < s_1 < ..., all in bits, both first
passed through a median of three. With u = log10(1 + s):

* fit f: increments of the running maximum of y. Total F = y_max - y_0.
* compression c: increments of the running maximum of the drawdown max_{r<=s} x_r - x_s. Total C is the
  largest drawdown; kappa = C / max x, rise = max x - x_0.
* overlap O = sum of min(f, c), each scaled to sum 1: 0 when the two happen at different checkpoints, 1
  when they go hand in hand. It depends on how dense the checkpoints are, and measurement noise lowers
  it.
* coupling rho = Spearman's rank correlation of x and y until 90 % of F is reached: +1 where the layer
  fits while it expands, -1 where it fits while it compresses. Barely moved by noise: the statistic to
  test on.
* lag: u at half of C minus u at half of F, in decades; phi: share of the fit done at half of C. Noisy.

Cost: O(checkpoints log checkpoints). A path whose F or C is too small to speak of (below .02 bit, or
below three half-widths of the intervals it was measured with), or more than a third of whose checkpoints
are saturated, has no overlap, coupling, lag or phi, and says why. Fewer saturated checkpoints are left
out: nothing happens at them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitlens.errors import BitlensError
from bitlens.information.ranks import doubled_ranks

Floats = npt.NDArray[np.float64]

SMALLEST = 0.02
"""Bits of fit or compression below which there is nothing to time."""
HALF_WIDTHS = 3.0
SATURATED_SHARE = 1 / 3
FIT_SHARE = 0.9
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Phases:
    """What one path does; see the module for the definitions.

    Attributes:
        F: total fit, bits.
        C: total compression, bits.
        kappa: compression as a share of the largest x.
        rise: largest x minus the first, bits.
        overlap: O in [0, 1], or None.
        coupling: rho in [-1, 1]; None also where fewer than three checkpoints lie before 90 % of the
            fit, or x or y is constant until then.
        lag: decades of steps by which compression trails the fit, or None.
        phi: share of the fit done at half of the compression, or None.
        defined: whether overlap, lag and phi mean anything.
        why_not: the reason where they do not.
        u: (n,) log10(1 + step).
        fit: (n,) the curve f, sums to 1 (all 0 where F is 0).
        compression: (n,) the curve c, sums to 1 (all 0 where C is 0).
    """

    F: float
    C: float
    kappa: float
    rise: float
    overlap: float | None
    coupling: float | None
    lag: float | None
    phi: float | None
    defined: bool
    why_not: str | None
    u: Floats
    fit: Floats
    compression: Floats


def measure_phases(
    steps: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    half_x: npt.ArrayLike | None = None,
    half_y: npt.ArrayLike | None = None,
    saturated: npt.ArrayLike | None = None,
) -> Phases:
    """Statistics of one layer's path in the information plane.

    Args:
        steps: (n,) checkpoints, ascending, from 0 on.
        x: (n,) I(X;T) in bits.
        y: (n,) I(T;Y) in bits.
        half_x: half-width of the confidence interval of x in bits, (n,) or one number; the median counts.
        half_y: the same for y.
        saturated: (n,) booleans, True where the point cannot be trusted.

    Raises:
        BitlensError: fewer than three checkpoints, unequal lengths, steps out of order, or NaN.
    """
    when = _read_steps(steps)
    n = len(when)
    lost, kept = _left_in(saturated, n)
    x_path = median_of_three(_read("x", x, n)[kept])
    y_path = median_of_three(_read("y", y, n)[kept])
    u = np.log10(1 + when)
    total_fit, fit = _shares(np.maximum.accumulate(y_path) - y_path[0], kept)
    total_compression, compression = _shares(np.maximum.accumulate(_drawdown(x_path)), kept)
    highest = float(x_path.max())
    why_not = _reason(
        total_fit,
        total_compression,
        _typical("half_x", half_x, n),
        _typical("half_y", half_y, n),
        lost,
    )
    overlap = coupling = lag = phi = None
    if why_not is None:
        fitted, compressed = np.cumsum(fit), np.cumsum(compression)
        at_half = _reach(u, compressed, 0.5)
        overlap = float(np.minimum(fit, compression).sum())
        coupling = _coupling(x_path, y_path, fitted[kept])
        lag = at_half - _reach(u, fitted, 0.5)
        phi = float(np.interp(at_half, u, fitted))
    return Phases(
        F=total_fit,
        C=total_compression,
        kappa=total_compression / highest if highest > 0 else 0.0,
        rise=highest - float(x_path[0]),
        overlap=overlap,
        coupling=coupling,
        lag=lag,
        phi=phi,
        defined=why_not is None,
        why_not=why_not,
        u=u,
        fit=fit,
        compression=compression,
    )


def late_drawdown(
    steps: npt.ArrayLike, x: npt.ArrayLike, saturated: npt.ArrayLike | None = None
) -> float:
    """Largest drawdown of I(X;T) within the last half of the logarithmic steps, in bits.

    x is median filtered first; the window starts at the first checkpoint whose u = log10(1 + s) is at
    least half-way between the first and the last. Jitter around a constant draws down as well: see
    `late_fall` for what is left of it at the end.

    Raises:
        BitlensError: as `measure_phases`.
    """
    return float(_drawdown(_late(steps, x, saturated)).max())


def late_fall(
    steps: npt.ArrayLike, x: npt.ArrayLike, saturated: npt.ArrayLike | None = None
) -> float:
    """How much I(X;T) fell over the last half of the logarithmic steps, in bits; negative where it rose.

    Median of the first three points of the window of `late_drawdown` minus that of its last three.

    Raises:
        BitlensError: as `measure_phases`.
    """
    path = _late(steps, x, saturated)
    return float(np.median(path[:3]) - np.median(path[-3:]))


def _late(steps: npt.ArrayLike, x: npt.ArrayLike, saturated: npt.ArrayLike | None) -> Floats:
    when = _read_steps(steps)
    _, kept = _left_in(saturated, len(when))
    path = median_of_three(_read("x", x, len(when))[kept])
    u = np.log10(1 + when)
    return path[u[kept] >= min((u[0] + u[-1]) / 2, u[kept][-1])]


def median_of_three(values: Floats) -> Floats:
    """Replace every inner point by the median of itself and its neighbours; the ends stay."""
    inner = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return np.concatenate([values[:1], inner, values[-1:]])


def rank_correlation(x: Floats, y: Floats) -> float | None:
    """Spearman's rho, tied values sharing their mean rank; None where one side is constant."""
    a, b = doubled_ranks(x), doubled_ranks(y)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else None


def _coupling(x: Floats, y: Floats, fitted: Floats) -> float | None:
    end = int(np.argmax(fitted >= FIT_SHARE - _ROUNDING)) + 1
    return rank_correlation(x[:end], y[:end]) if end >= 3 else None


def _drawdown(x: Floats) -> Floats:
    return np.maximum.accumulate(x) - x


def _shares(running: Floats, kept: npt.NDArray[np.bool_]) -> tuple[float, Floats]:
    """The total of a curve that starts at 0 and never falls, and its increments as shares of it.

    Increments stand at their checkpoints; there is none at one that was left out.
    """
    total = float(running[-1])
    increments = np.zeros(len(kept))
    increments[kept] = np.diff(running, prepend=0.0)
    return total, increments / total if total > 0 else increments


def _reach(u: Floats, done: Floats, share: float) -> float:
    """The u at which `done` reaches a share for the first time, on a line between two checkpoints."""
    after = int(np.argmax(done >= share - _ROUNDING))
    if after == 0:
        return float(u[0])
    return float(np.interp(share, done[after - 1 : after + 1], u[after - 1 : after + 1]))


def _reason(
    fit: float, compression: float, wide_x: float, wide_y: float, lost: float
) -> str | None:
    if lost > SATURATED_SHARE:
        return f"{lost:.0%} of the checkpoints are saturated"
    for name, total, wide in (("fit", fit, wide_y), ("compression", compression, wide_x)):
        if total < SMALLEST:
            return f"total {name} {total:.4f} bit is below {SMALLEST} bit"
        if total < HALF_WIDTHS * wide:
            return f"total {name} {total:.4f} bit is below three half-widths of its interval ({wide:.4f})"
    return None


def _read_steps(steps: npt.ArrayLike) -> Floats:
    when = np.asarray(steps, dtype=np.float64)
    if when.ndim != 1 or len(when) < 3:
        raise BitlensError(f"steps of shape {when.shape}: a path needs three checkpoints or more")
    if not np.isfinite(when).all() or when[0] < 0 or (np.diff(when) <= 0).any():
        raise BitlensError("steps: checkpoints must be ascending numbers from 0 on")
    return when


def _read(name: str, values: npt.ArrayLike, n: int) -> Floats:
    read = np.asarray(values, dtype=np.float64)
    if read.shape != (n,):
        raise BitlensError(
            f"{name} has shape {read.shape}; there are {n} steps, give one value each"
        )
    if not np.isfinite(read).all():
        place = int(np.flatnonzero(~np.isfinite(read))[0])
        raise BitlensError(f"{name}[{place}] is {read[place]}; a path needs finite values in bits")
    return read


def _typical(name: str, half: npt.ArrayLike | None, n: int) -> float:
    if half is None:
        return 0.0
    widths = np.asarray(half, dtype=np.float64)
    read = _read(name, np.full(n, widths) if widths.ndim == 0 else widths, n)
    if (read < 0).any():
        raise BitlensError(f"{name}: a half-width of an interval cannot be negative")
    return float(np.median(read))


def _left_in(saturated: npt.ArrayLike | None, n: int) -> tuple[float, npt.NDArray[np.bool_]]:
    """Share of saturated checkpoints, and which are used: all where too few would be left."""
    if saturated is None:
        return 0.0, np.ones(n, dtype=bool)
    mask = np.asarray(saturated)
    if mask.shape != (n,) or mask.dtype != np.bool_:
        raise BitlensError(
            f"saturated has shape {mask.shape} and type {mask.dtype}; give {n} booleans"
        )
    lost = float(mask.mean())
    enough = lost <= SATURATED_SHARE and int((~mask).sum()) >= 3
    return lost, ~mask if enough else np.ones(n, dtype=bool)
