"""The formulas of the tracks: plain numbers in, scores out.

After BiBench (Qin et al., ICML 2023): values relative to the float net, first averaged, then joined by
quadratic means, in which a large value weighs more than in a plain one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Ratios = Mapping[Any, Sequence[float]]
"""What groups hold: ratios of one binary net each to its float twin."""


def mean(values: Sequence[float]) -> float:
    """E: the arithmetic mean."""
    return sum(values) / len(values)


def quadratic_mean(values: Sequence[float]) -> float:
    """The root of the mean square."""
    return math.sqrt(mean([value * value for value in values]))


def learning(ratios: Ratios) -> float:
    """OM_task: quadratic mean over data sets of E[A_bin / A_fp], the mean over nets and settings."""
    return quadratic_mean([mean(found) for found in ratios.values()])


def architecture(ratios: Ratios) -> float:
    """OM_arch: quadratic mean over nets of E[A_bin / A_fp], the mean over data sets and settings."""
    return quadratic_mean([mean(found) for found in ratios.values()])


def corrupted(binary: Sequence[float], real: Sequence[float]) -> float:
    """G_c = A^c_bin / A^c_fp of one corruption; accuracies of both nets at every severity."""
    return mean(binary) / mean(real)


def robustness(ratios: Ratios) -> float:
    """OM_corr: quadratic mean over corruptions (of every data set) of E[G_c]."""
    return quadratic_mean([mean(found) for found in ratios.values()])


def sensitivity(binary: Sequence[float], real: Sequence[float]) -> float | None:
    """std(A_fp) / std(A_bin) over the same training settings; None where the binary net has no spread.

    Sample standard deviations of at least two accuracies each.
    """
    spread = float(np.std(binary, ddof=1))
    return float(np.std(real, ddof=1)) / spread if spread > 0 else None


def joined(first: float, second: float | None) -> float:
    """sqrt((E[a]^2 + E[b]^2) / 2): OM_train, OM_comp and OM_hw; the first alone where b is missing."""
    return quadratic_mean([first] if second is None else [first, second])


def size_ratio(*, parameters_fp: int, parameters_bin: int, binary: int) -> float:
    """r_size: 32 bits for every parameter of the float net over 32 and 1 bits of the binary one.

    BiBench writes |M| for both; here each net brings its own count, thresholds and slopes included, what
    only helps to train not.
    """
    return 32 * parameters_fp / (32 * (parameters_bin - binary) + binary)


def operation_ratio(*, ops_fp: float, flops_rest: float, bops: float) -> float:
    """r_ops = OPs_fp / (FLOPs of what is left float + BOPs / 64)."""
    return ops_fp / (flops_rest + bops / 64)
