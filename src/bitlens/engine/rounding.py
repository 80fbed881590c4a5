"""Weights to int8 with the inputs in view: later weights make up for what earlier ones lost.

Rounding each weight by itself leaves an error that a window of nearly equal pixels adds up. Here the
weights of a filter are rounded one after the other, and each takes along what the ones before it did
to the output on typical inputs (the second moments of the windows, from calibration images). This is
OBQ in the fixed order of GPTQ (Frantar, Alistarh, 2022; Frantar et al., 2023, section 3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DAMPING = 1e-5
"""Added to the diagonal of the moments, as a part of its mean, so that unused inputs have an inverse."""

STEPS = np.linspace(1.0, 0.9, 21)
"""Parts of max|w| / 127 that are tried as the step; each rounds differently, the best is kept."""

LARGEST = 127


def round_filters(filters: Floats, moments: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Symmetric int8 per filter: (q, step), `filters` (o, k) about q * step[:, None].

    Args:
        filters: one filter a row, over inputs in the order of `moments`.
        moments: E[x x^T] of the inputs (k, k), not centred, so that a constant input counts too.

    Returns:
        int8 (o, k) and positive steps (o,); a filter of zeros has step 1.
    """
    size = np.abs(filters).max(axis=1)
    whole = np.where(size > 0, size / LARGEST, 1.0)
    moments = moments + np.eye(len(moments)) * max(DAMPING * moments.diagonal().mean(), 1e-30)
    carry = np.linalg.cholesky(np.linalg.inv(moments)).T
    best, least, chosen = np.zeros(filters.shape), np.full(len(filters), np.inf), whole
    for part in STEPS:
        step = (whole * part).astype(np.float32).astype(np.float64)
        q = _carried(filters / step[:, None], carry)
        lost = q * step[:, None] - filters
        error = np.einsum("ok,kl,ol->o", lost, moments, lost)
        better = error < least
        best, least = np.where(better[:, None], q, best), np.where(better, error, least)
        chosen = np.where(better, step, chosen)
    return best.astype(np.int8), chosen


def _carried(exact: Floats, carry: Floats) -> Floats:
    """Integers for `exact` (o, k), each column's error carried into the columns behind it."""
    left, q = exact.copy(), np.empty_like(exact)
    for k in range(exact.shape[1]):
        q[:, k] = np.clip(np.rint(left[:, k]), -LARGEST, LARGEST)
        error = (left[:, k] - q[:, k]) / carry[k, k]
        left[:, k + 1 :] -= error[:, None] * carry[k, k + 1 :]
    return q
