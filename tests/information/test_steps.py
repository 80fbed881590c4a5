"""The schedule of a plane: its ends, its spacing, and what cannot be scheduled."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.information.steps import LogSteps


@given(points=st.integers(1, 200), last=st.integers(1, 10**7))
def test_from_zero_to_the_last_step_ascending(points: int, last: int) -> None:
    steps = LogSteps(points).steps(last)
    assert steps[0] == 0 and steps[-1] == last
    assert list(steps) == sorted(set(steps))
    assert len(steps) <= points + 1


@given(points=st.integers(2, 100), last=st.integers(1, 10**6))
def test_every_point_is_a_geometric_one(points: int, last: int) -> None:
    """last ** (k / (points - 1)) rounded, and nothing between two of them is left out."""
    exact = {round(last ** (k / (points - 1))) for k in range(points)}
    found = set(LogSteps(points).steps(last)) - {0}
    # A power that lies half-way between two integers may be rounded either way.
    assert all(min(abs(step - other) for other in exact) <= 1 for step in found)
    assert len(found ^ exact) <= 2


def test_numbers_by_hand() -> None:
    assert LogSteps(4).steps(1000) == (0, 1, 10, 100, 1000)
    assert LogSteps(1).steps(50) == (0, 50)
    assert LogSteps(2).steps(50) == (0, 1, 50)
    assert LogSteps().steps(3) == (0, 1, 2, 3)
    assert LogSteps().steps(1) == (0, 1)
    assert len(LogSteps().steps(3900)) == 61


def test_late_steps_are_evenly_spaced_in_the_logarithm() -> None:
    late = [step for step in LogSteps(70).steps(100_000) if step > 200]
    gaps = [math.log(b / a) for a, b in itertools.pairwise(late)]
    assert max(gaps) - min(gaps) < 0.01
    assert gaps[0] == pytest.approx(math.log(100_000) / 69, abs=0.01)


@pytest.mark.parametrize(("points", "last"), [(0, 10), (-3, 10), (5, 0), (5, -1)])
def test_nothing_to_schedule(points: int, last: int) -> None:
    with pytest.raises(BitlensError, match=r"LogSteps: (points=|a training's steps=)"):
        LogSteps(points).steps(last)


@pytest.mark.parametrize(
    ("points", "last", "why"),
    [
        (70.5, 10, "points=70.5; give a whole number, 1 or more"),
        ("70", 10, "points='70'"),
        (True, 10, "points=True"),
        (70, 10.5, "steps=10.5"),
        (70, None, "steps=None"),
    ],
)
def test_numbers_that_are_not_whole(points: Any, last: Any, why: str) -> None:
    with pytest.raises(BitlensError, match=why):
        LogSteps(points).steps(last)


def test_numpy_s_integers_are_whole() -> None:
    assert LogSteps(np.int64(4)).steps(np.int64(1000)) == LogSteps(4).steps(1000)
