"""Flags from diagnostics."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.information.corrected import Corrected
from bitlens.information.trust import Flag, judge

GOOD = Corrected(cwj=5.0, nsb=5.0, drift=0.0, gain=0.01, singleton_share=0.005)
RANK = ("reliable", "corrected", "unreliable", "saturated")


@pytest.mark.parametrize(
    ("whole", "inside", "flag"),
    [
        ({}, {}, "reliable"),
        ({"gain": 0.03}, {}, "corrected"),
        ({"singleton_share": 0.02}, {}, "corrected"),
        ({}, {"gain": 0.03}, "corrected"),
        ({}, {"singleton_share": 0.02}, "corrected"),
        ({}, {"gain": 0.25, "nsb": 4.0}, "corrected"),
        ({}, {"gain": 0.26, "nsb": 4.94}, "unreliable"),
        ({}, {"gain": 0.26, "drift": -0.06}, "unreliable"),
        ({"drift": 0.03, "nsb": 5.03}, {"gain": 0.26}, "unreliable"),
        ({}, {"gain": 0.59, "nsb": 5.02, "drift": 0.02}, "corrected"),
        ({}, {"gain": 0.61}, "unreliable"),
        ({}, {"gain": 0.95}, "unreliable"),
        ({"gain": 0.1}, {"nsb": None}, "unreliable"),
        ({"gain": 0.91}, {"gain": 0.95}, "saturated"),
    ],
)
def test_the_worse_of_the_two_values_sets_the_flag(
    whole: dict[str, float], inside: dict[str, float], flag: Flag
) -> None:
    assert judge(replace(GOOD, **whole), replace(GOOD, **inside), headroom=3) == flag


def test_a_set_of_new_codes_is_saturated_however_it_was_taken() -> None:
    assert judge(GOOD, GOOD, headroom=0.09) == "saturated"
    assert judge(GOOD, GOOD, headroom=0.09, population=True) == "saturated"


def test_a_whole_population_needs_no_correction() -> None:
    poor = replace(GOOD, gain=0.7, nsb=None, singleton_share=0.5)
    assert judge(poor, poor, headroom=1, population=True) == "reliable"
    assert judge(poor, poor, headroom=1) == "unreliable"


@given(
    gains=st.tuples(st.floats(0, 1), st.floats(0, 1)), inside=st.floats(0, 1), gap=st.floats(0, 0.2)
)
def test_more_gain_never_earns_more_trust(
    gains: tuple[float, float], inside: float, gap: float
) -> None:
    flags = [
        RANK.index(
            judge(
                replace(GOOD, gain=gain, nsb=5 + gap),
                replace(GOOD, gain=inside),
                headroom=2,
            )
        )
        for gain in sorted(gains)
    ]
    assert flags == sorted(flags)
