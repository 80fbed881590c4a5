"""Counting codes, and counts of counts."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.information.counts import Fingerprint, count_codes
from bitlens.information.measure import entropy


@given(codes=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=60))
def test_codes_are_counted_in_order(codes: list[int]) -> None:
    counted = Counter(codes)
    expected = [counted[code] for code in sorted(counted)]
    hashes = np.array(codes, dtype=np.uint64)
    assert count_codes(hashes).tolist() == expected
    assert count_codes(np.stack([hashes, hashes], axis=1)).tolist() == expected


@given(pairs=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40))
def test_both_halves_of_a_long_hash_count(pairs: list[tuple[int, int]]) -> None:
    counted = Counter(pairs)
    hashes = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    assert count_codes(hashes).tolist() == [counted[pair] for pair in sorted(counted)]


@given(counts=st.lists(st.integers(0, 6), min_size=1).filter(any))
def test_a_fingerprint_counts_counts(counts: list[int]) -> None:
    found = Fingerprint.of(counts)
    assert found.samples == sum(counts)
    assert found.distinct == sum(n > 0 for n in counts)
    assert found.times.tolist() == sorted(set(counts) - {0})
    assert [found.seen(n) for n in range(1, 8)] == [counts.count(n) for n in range(1, 8)]


def test_whole_numbers_may_be_floats() -> None:
    found = Fingerprint.of(np.array([2.0, 0.0, 1.0, 1.0]))
    assert found.times.tolist() == [1, 2]
    assert found.how_many.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, -1], "whole number"),
        ([0.5, 1.0], "whole number"),
        ([math.nan, 1.0], "whole number"),
        ([math.inf, 1.0], "whole number"),
        ([True, False], "whole number"),
        (["2", "1"], "whole number"),
        ([], "no sample"),
        ([0, 0], "no sample"),
    ],
)
def test_what_is_no_count_is_refused(counts: npt.ArrayLike, message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        Fingerprint.of(counts)


@pytest.mark.parametrize(
    "codes",
    [
        np.array([2**63, 5, 5], np.uint64),
        np.array([3, 5, 5], np.uint64),
        np.array([[3, 4], [5, 6]], np.uint64),
        np.array([[True, False], [True, True]]),
        np.array([[2, 0], [1, 1]]),
        np.array([2**62, 2**62, 2**62]),
        np.array([2.0**70, 1.0]),
        np.array([-(2**63), 7]),
        np.array(3),
    ],
)
def test_codes_are_not_taken_for_counts(codes: npt.NDArray[Any]) -> None:
    with pytest.raises(BitlensError, match="counts, not codes; give Codes or np"):
        entropy(codes)


def test_as_many_samples_as_a_float_can_count() -> None:
    assert Fingerprint.of([2**53 - 2, 1]).samples == 2**53 - 1
    with pytest.raises(BitlensError, match="counts, not codes"):
        Fingerprint.of([2**53 - 1, 1])
