"""How far a reading can be trusted as a statement about the population, from the counts alone.

The flag is of a reading as a whole, so it is set by the worse of H(T) and I(T;Y). I(T;Y) needs H(T|Y), which
is estimated label by label from N / classes samples: its doubling gain is the larger one and decides.

- reliable: the plug-in values themselves stand: doubling gain at most 0.02 bit and at most 1 % of the
  samples with a code not seen again, among all samples and among those of a label.
- corrected: the plug-in is biased but the interval holds: doubling gains at most 0.25 bit, or at most 0.6
  bit where the corrections are steady: for H(T) and H(T|Y) alike, the Chao-Wang-Jost and NSB estimates
  differ, plus what the former gained from the second half of the sample, by 0.05 bit or less.
  The bounds were set with benchmarks/interval_coverage.py: with them every cell of that benchmark in which
  the flag is common keeps the truth of both values in at least 86 % of its 95 % intervals. At 0.3 bit
  heavy tails (20 bits of probability 0.1 at N = 60,000 with 10 classes) fall out.
- unreliable: anything between. The interval is shown, but often misses.
- saturated: log2 N - H(T) < 0.1 bit or a doubling gain above 0.9: nearly every sample has a code of its
  own, H(T) is log2 N and I(T;Y) is H(Y), whatever the labels.

Of a set that is the whole population the plug-in values are exact, so the flag is reliable, or saturated
as a warning that codes merely number the inputs.
"""

from __future__ import annotations

import math
from typing import Literal

from bitlens.information.corrected import Corrected

Flag = Literal["reliable", "corrected", "unreliable", "saturated"]

SATURATED_HEADROOM = 0.1
SATURATED_GAIN = 0.9
RELIABLE_GAIN = 0.02
RELIABLE_SINGLETONS = 0.01
CORRECTED_GAIN = 0.25
STEADY_GAIN = 0.6
STEADY = 0.05


def judge(
    whole: Corrected, inside: Corrected, *, headroom: float, population: bool = False
) -> Flag:
    """The flag of a reading.

    Args:
        whole: estimates of H(T).
        inside: estimates of H(T|Y).
        headroom: log2 N minus the plug-in H(T), in bits.
        population: the samples are the whole input space.
    """
    if headroom < SATURATED_HEADROOM or whole.gain > SATURATED_GAIN:
        return "saturated"
    if population:
        return "reliable"
    gain = max(whole.gain, inside.gain)
    singletons = max(whole.singleton_share, inside.singleton_share)
    if gain <= RELIABLE_GAIN and singletons <= RELIABLE_SINGLETONS:
        return "reliable"
    unsteadiness = max(_unsteadiness(whole), _unsteadiness(inside))
    bound = STEADY_GAIN if unsteadiness <= STEADY else CORRECTED_GAIN
    return "corrected" if gain <= bound and math.isfinite(unsteadiness) else "unreliable"


def _unsteadiness(estimates: Corrected) -> float:
    """How much two ways of correcting and half the sample disagree, in bits; infinite without NSB."""
    if estimates.nsb is None:
        return math.inf
    return abs(estimates.nsb - estimates.cwj) + abs(estimates.drift)
