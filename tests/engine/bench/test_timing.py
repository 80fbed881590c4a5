"""Turns, ratios and their intervals, on a clock that the test moves."""

from __future__ import annotations

import numpy as np
import pytest

from bitlens.engine.bench.timing import (
    SAMPLE,
    WARM_UP,
    compare,
    interleave,
    median_interval,
    percentile,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_candidates_take_turns_and_short_ones_are_repeated() -> None:
    clock, calls = Clock(), []

    def candidate(name: str, seconds: float):
        def run() -> None:
            calls.append(name)
            clock.now += seconds

        return run

    long, short = SAMPLE * 2, SAMPLE / 4.5
    taken = interleave({"a": candidate("a", long), "b": candidate("b", short)}, 4, clock=clock)
    assert taken["a"] == pytest.approx([long] * 4)
    assert taken["b"] == pytest.approx([short] * 4)
    turns = calls[6:]
    first, second = ["a"] * 2, ["b"] * 6
    assert turns[:16] == second + first + first + second, "one untimed, five timed; then reversed"
    assert len(turns) == 8 * (4 + WARM_UP)


def test_ratios_pair_the_rounds() -> None:
    """A machine that slows down for half of the rounds changes times, not ratios."""
    slow = np.where(np.arange(40) < 20, 1.0, 5.0)
    noise = np.random.default_rng(0).normal(1, 0.01, (2, 40))
    own, other = 3e-3 * slow * noise[0], 1e-3 * slow * noise[1]
    found = compare(own.tolist(), other.tolist())
    assert found.ratio == pytest.approx(3, rel=0.01)
    assert found.low < found.ratio < found.high and found.high / found.low < 1.03
    assert found.p10 == pytest.approx(3, rel=0.05) and found.p90 == pytest.approx(15, rel=0.05)
    assert found.milliseconds == pytest.approx(1e3 * np.median(own))
    assert found.rounds == 40
    with pytest.raises(ValueError):
        compare([1.0], [1.0, 2.0])


@pytest.mark.parametrize("count", [6, 9, 20, 51, 100, 999])
def test_the_interval_is_the_shortest_that_holds(count: int) -> None:
    from scipy.stats import binom

    low, high = median_interval(count)
    assert low + high == count - 1
    assert binom.cdf(low, count, 0.5) <= 0.025 < binom.cdf(low + 1, count, 0.5)


def test_few_values_give_the_whole_range() -> None:
    assert [median_interval(count) for count in (1, 2, 5)] == [(0, 0), (0, 1), (0, 4)]
    with pytest.raises(ValueError, match="count=0"):
        median_interval(0)


def test_percentiles_are_numpys() -> None:
    values = np.random.default_rng(1).normal(size=37)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert percentile(values.tolist(), share) == pytest.approx(np.quantile(values, share))
