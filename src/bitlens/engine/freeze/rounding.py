"""Weights to int8 with the inputs in view: later weights make up for what earlier ones lost.

Rounding each weight by itself leaves an error that a window of nearly equal pixels adds up. Here the
weights of a filter are rounded one after the other, and each takes along what the ones before it did
to the output on typical inputs (the second moments of the windows, from calibration images). This is
OBQ in the fixed order of GPTQ (Frantar, Alistarh, 2022; Frantar et al., 2023, section 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scales = npt.NDArray[np.float32]
Rounded = tuple[npt.NDArray[np.int8], Scales]

DAMPING = 1e-5
"""Added to the diagonal of the moments, as a part of its mean, so that unused inputs have an inverse."""

STEPS = np.linspace(1.0, 0.9, 21)
"""Parts of max|w| / 127 that are tried as the step; each rounds differently, the best is kept."""

LARGEST = 127

PATIENT = 256
"""Inputs of one filter beyond which only the full step is tried."""


def quantize_weights(filters: npt.NDArray[Any], moments: Floats | None = None) -> Rounded:
    """Symmetric int8 per output channel: `filters` (o, cg, kh, kw) about q * scale[o].

    Args:
        filters: real weights.
        moments: E[x x^T] of the windows (groups, k, k), k = cg kh kw, not centred, so that a constant
            input counts too; None rounds each weight to the nearest.

    Returns:
        int8 of the filters' shape and float32 scales (o,); a filter of zeros, or one too small for
        float32, becomes zeros.
    """
    flat = filters.reshape(len(filters), -1).astype(np.float64)
    whole = np.abs(flat).max(axis=1) / LARGEST
    tiny = whole < np.finfo(np.float32).tiny
    flat[tiny], whole[tiny] = 0, 1
    if moments is None:
        scale = whole.astype(np.float32)
        q = _nearest(flat / scale[:, None].astype(np.float64))
    else:
        parts = zip(np.split(flat, len(moments)), np.split(whole, len(moments)), strict=True)
        made = [_round(f, w, m) for (f, w), m in zip(parts, moments, strict=True)]
        q, scale = (np.concatenate(piece) for piece in zip(*made, strict=True))
    return q.astype(np.int8).reshape(filters.shape), scale


def _round(filters: Floats, whole: Floats, moments: Floats) -> tuple[Floats, Scales]:
    """The best of several steps for each filter of a group."""
    damped = moments + np.eye(len(moments)) * max(DAMPING * moments.diagonal().mean(), 1e-30)
    carry = np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float64)

    def loss(q: Floats, step: Scales) -> Floats:
        lost = q * step[:, None].astype(np.float64) - filters
        return ((lost @ damped) * lost).sum(axis=1)

    chosen = whole.astype(np.float32)
    best = _nearest(filters / chosen[:, None].astype(np.float64))
    least = loss(best, chosen)
    for part in STEPS if len(moments) <= PATIENT else STEPS[:1]:
        step = (whole * part).astype(np.float32)
        q = _carried(filters / step[:, None].astype(np.float64), carry)
        error = loss(q, step)
        better = error < least
        best[better], least[better], chosen[better] = q[better], error[better], step[better]
    return best, chosen


def _carried(exact: Floats, carry: Floats) -> Floats:
    """Integers for `exact` (o, k), each column's error carried into the columns behind it."""
    left, q = exact.copy(), np.empty_like(exact)
    for k in range(exact.shape[1]):
        q[:, k] = _nearest(left[:, k])
        error = (left[:, k] - q[:, k]) / carry[k, k]
        left[:, k + 1 :] -= error[:, None] * carry[k, k + 1 :]
    return q


def _nearest(exact: Floats) -> Floats:
    return np.clip(np.rint(exact), -LARGEST, LARGEST)
