"""Batch norm in evaluation mode as one multiply-add, with the constants that torch itself uses."""

from __future__ import annotations

import numpy as np

from bitlens.engine.freeze.flow import Array
from bitlens.engine.reference.operations import fused_multiply_add


def multiply_add_of(
    gamma: Array | None, beta: Array | None, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array]:
    """The pair (a, b), float32 (c,), with norm(x) = fma(x, a, b) to the last bit of torch's CPU kernel.

    Args:
        gamma: weight (c,), or None for ones.
        beta: bias (c,), or None for zeros.
        mean: running mean (c,).
        variance: running variance (c,).
        eps: added to the variance.
    """
    mean, variance = mean.astype(np.float32), variance.astype(np.float32)
    gamma = np.ones_like(mean) if gamma is None else gamma.astype(np.float32)
    beta = np.zeros_like(mean) if beta is None else beta.astype(np.float32)
    a = np.float32(1) / np.sqrt(variance + np.float32(eps)) * gamma
    return a, fused_multiply_add(-mean, a, beta)
