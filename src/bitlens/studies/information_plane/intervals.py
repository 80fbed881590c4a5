"""Intervals that need no distribution: of a median, and of any statistic by resampling seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import scipy.stats

from bitlens.studies.information_plane.paths import Path

RESAMPLES = 500
Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Exact 95 % interval of the median from order statistics; None below six values."""
    if len(values) < 6:
        return None
    found = scipy.stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    return float(found.low), float(found.high)


def resampled_interval(
    paths: Sequence[Path], statistic: Callable[[Places], float]
) -> tuple[float, float]:
    """Percentile bootstrap over seeds: nets of one task and shape that share a seed are drawn together.

    They share the order of the samples, and many of them the start.

    Args:
        paths: what is resampled.
        statistic: of the paths at these places; NaN where it is not defined for them.
    """
    shared: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for place, path in enumerate(paths):
        shared[path.task, path.hidden, path.seed].append(place)
    members = [np.array(places) for places in shared.values()]
    draw = np.random.default_rng(0)
    found = [
        statistic(
            np.concatenate([members[k] for k in draw.integers(len(members), size=len(members))])
        )
        for _ in range(RESAMPLES)
    ]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)
