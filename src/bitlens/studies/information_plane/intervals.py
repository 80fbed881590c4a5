"""Intervals that need no distribution: of a median, a share, and any statistic of whole nets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats

from bitlens.studies.information_plane.paths import Path

RESAMPLES = 500
Array = npt.NDArray[np.float64]


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Exact 95 % interval of the median from order statistics; None below six values."""
    if len(values) < 6:
        return None
    found = scipy.stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    return float(found.low), float(found.high)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, from `hits` of `n`."""
    found = scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def resampled_interval(
    paths: Sequence[Path],
    x: Array,
    y: Array,
    statistic: Callable[[Array, Array], float],
) -> tuple[float, float]:
    """Percentile bootstrap over nets: layers and read-outs of one net are drawn together."""
    nets: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, path in enumerate(paths):
        nets[path.task, path.hidden, path.kind, path.weight_decay, path.seed].append(place)
    members = [np.array(places) for places in nets.values()]
    draw = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate(
            [members[k] for k in draw.integers(len(members), size=len(members))]
        )
        if np.ptp(x[chosen]) > 0 and np.ptp(y[chosen]) > 0:
            found.append(statistic(x[chosen], y[chosen]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
