"""Timing things against each other on a machine that does other work too.

All candidates take turns in one process, so that whatever slows the machine slows them alike, and what is
compared is the ratio of times taken in the same round.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

SAMPLE = 2e-3
"""Seconds that a timed stretch should last at least: shorter answers are repeated within it."""

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Clocks to time by. Processor time leaves out what other programs take, and adds up threads; on a busy
machine it is the fairer one for engines on one thread."""

WARM_UP = 3
"""Rounds before those that count."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one candidate took.

    Attributes:
        milliseconds: median over the rounds.
        p10, p90: tenth and ninetieth percentile of the same.
        ratio: median over the rounds of its time by the reference's time in the same round.
        low, high: 95 % interval of that median, by order statistics; without an assumption about the
            distribution, but taking rounds as independent.
        rounds: how many.
    """

    milliseconds: float
    p10: float
    p90: float
    ratio: float
    low: float
    high: float
    rounds: int


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds an answer of every candidate took, round by round.

    In each round every candidate answers once untimed, which brings its weights back into the caches,
    and then as often as fills `SAMPLE`. Every other round runs in reverse order.

    Args:
        candidates: what answers, by name.
        rounds: that count; `WARM_UP` more go before.
        clock: tells seconds.
    """
    repeats = {name: _repeats(run, clock) for name, run in candidates.items()}
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + WARM_UP):
        for name in list(candidates) if turn % 2 else list(candidates)[::-1]:
            run = candidates[name]
            run()
            begun = clock()
            for _ in range(repeats[name]):
                run()
            taken[name].append((clock() - begun) / repeats[name])
    return {name: seconds[WARM_UP:] for name, seconds in taken.items()}


def _repeats(run: Callable[[], object], clock: Callable[[], float]) -> int:
    """Calls that last for `SAMPLE` together, judged by the fastest of three."""
    fastest = math.inf
    for _ in range(3):
        begun = clock()
        run()
        fastest = min(fastest, clock() - begun)
    return max(1, math.ceil(SAMPLE / max(fastest, 1e-7)))


def compare(taken: Sequence[float], reference: Sequence[float]) -> Timing:
    """Summarise seconds round by round, as ratio to those of a reference in the same rounds.

    Raises:
        ValueError: no rounds, or different numbers of them.
    """
    ratios = sorted(own / other for own, other in zip(taken, reference, strict=True))
    low, high = median_interval(len(ratios))
    return Timing(
        milliseconds=1e3 * statistics.median(taken),
        p10=1e3 * percentile(taken, 0.1),
        p90=1e3 * percentile(taken, 0.9),
        ratio=statistics.median(ratios),
        low=ratios[low],
        high=ratios[high],
        rounds=len(ratios),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie, between neighbours in proportion."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


def median_interval(count: int) -> tuple[int, int]:
    """Positions, from zero, of the two ordered values between which the median lies in 95 of 100 cases.

    The number of values below the true median is binomial with one half. With five values or fewer the
    interval is all of them and holds less often.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"count={count}; a median needs at least one value")
    below, outside = 0.0, 0
    while below + math.comb(count, outside) / 2**count <= 0.025:
        below += math.comb(count, outside) / 2**count
        outside += 1
    first = max(outside - 1, 0)
    return first, count - 1 - first


def load_average() -> float | None:
    """Processes that wanted a core, average of the last minute; None on a system that does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def cores() -> int:
    """Cores that this process may use, or that the machine has, where a system tells no more."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
