"""One layer, one set of samples -> everything that is said about its information: `read_codes`.

The plug-in values are exact for the set itself, taken as the whole input space. The intervals speak of the
population the set was drawn from, and the flag says whether they can be trusted (`trust`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from bitlens.errors import BitlensError
from bitlens.information.contingency import tabulate
from bitlens.information.corrected import Corrected
from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import plugin, renyi2
from bitlens.information.interval import (
    Interval,
    entropy_error,
    entropy_interval,
    information_error,
    information_interval,
)
from bitlens.information.mutual import permutation_test, plugin_information
from bitlens.information.trust import Flag, judge

if TYPE_CHECKING:
    from bitlens.information.codes import Codes


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one set of samples tells about one layer; all information in bits.

    Attributes:
        units: number D of units.
        levels: values a unit can take.
        samples: number N of samples.
        classes: number of labels that occur.
        distinct: number of codes that occur.
        entropy: plug-in H(T), which is I(X;T) on this set as T is a function of X.
        information: plug-in I(T;Y), exact on this set.
        entropy_cwj: Chao-Wang-Jost H(T).
        information_cwj: Chao-Wang-Jost H(T) - H(T|Y).
        entropy_nsb: NSB H(T) with levels ** units possible codes; None when no code was seen twice.
        information_nsb: NSB H(T) - H(T|Y); None with the former, and when no code was seen twice within
            some label and levels ** units is beyond a float.
        entropy_low: lower end of the 95 % interval of the population's H(T).
        entropy_high: its upper end.
        information_low: lower end of the 95 % interval of the population's I(T;Y).
        information_high: its upper end.
        collision_entropy: Renyi-2 entropy, a lower bound of H(T); None when no code was seen twice.
        log2_samples: log2 N, above which no plug-in entropy of the set can be.
        label_entropy: plug-in H(Y), above which I(T;Y) cannot be.
        singleton_share: share of the samples whose code was seen once.
        doubling_gain: H(N) - E[H(N/2)] of the plug-in.
        information_gain_doubling: the same of H(T) - H(T|Y), halving every label.
        label_singleton_share: share of the samples whose code was seen once with their label.
        label_doubling_gain: mean over the labels of the doubling gain of H(T|Y=y).
        permutation_z: standard deviations above shuffled labels; None when it was not asked for or is
            not finite.
        reading: what the intervals and the flag take the set for.
        flag: whether they can be trusted.
    """

    units: int
    levels: int
    samples: int
    classes: int
    distinct: int
    entropy: float
    information: float
    entropy_cwj: float
    information_cwj: float
    entropy_nsb: float | None
    information_nsb: float | None
    entropy_low: float
    entropy_high: float
    information_low: float
    information_high: float
    collision_entropy: float | None
    log2_samples: float
    label_entropy: float
    singleton_share: float
    doubling_gain: float
    information_gain_doubling: float
    label_singleton_share: float
    label_doubling_gain: float
    permutation_z: float | None
    reading: Literal["population", "sample"]
    flag: Flag

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: numbers, strings and None, never NaN or infinity."""
        return asdict(self)


def read_codes(
    codes: Codes,
    labels: npt.ArrayLike,
    *,
    population: bool = False,
    permutations: int = 19,
    seed: int = 0,
) -> Reading:
    """Measure H(T) = I(X;T) and I(T;Y) of one layer.

    Args:
        codes: the layer's codes.
        labels: (n,) integers, of the same samples.
        population: the samples are the whole input space, each as likely as the others; then
            plug-in values are exact and the intervals are points.
        permutations: shuffles of the labels for `permutation_z`; 0 leaves it out.
        seed: of the shuffles.

    Raises:
        BitlensError: lengths differ, labels that are not integers, no samples.
    """
    if getattr(codes, "units", None) is None:
        raise BitlensError(
            f"read_codes needs Codes, which know their units and levels, not {type(codes).__name__}"
        )
    table = tabulate(codes, labels)
    whole, per_label = Fingerprint.of(table.codes), list(table.per_label())
    entropy, information = plugin.estimate(whole), plugin_information(table)
    of_codes = Corrected.of(whole, codes.support)
    if whole.distinct == whole.samples:
        of_codes = replace(of_codes, nsb=None)
    parts = [Corrected.of(one, codes.support) for one in per_label]
    inside = Corrected.mean(parts, table.labels)
    bounds = (entropy, entropy), (information, information)
    if not population:
        errors = (
            entropy_error(whole),
            information_error(table, whole, per_label, [part.cwj for part in parts]),
        )
        bounds = _intervals(
            of_codes, inside, errors, entropy, codes.units * math.log2(codes.levels), len(parts)
        )
    headroom = math.log2(table.samples) - entropy
    z = permutation_test(table, permutations, seed)[0] if permutations else math.nan
    return Reading(
        units=codes.units,
        levels=codes.levels,
        samples=table.samples,
        classes=len(parts),
        distinct=whole.distinct,
        entropy=entropy,
        information=information,
        entropy_cwj=of_codes.cwj,
        information_cwj=of_codes.cwj - inside.cwj,
        entropy_nsb=of_codes.nsb,
        information_nsb=_difference(of_codes.nsb, inside.nsb),
        entropy_low=bounds[0][0],
        entropy_high=bounds[0][1],
        information_low=bounds[1][0],
        information_high=bounds[1][1],
        collision_entropy=_finite(renyi2.estimate(whole)),
        log2_samples=math.log2(table.samples),
        label_entropy=plugin.estimate(Fingerprint.of(table.labels)),
        singleton_share=of_codes.singleton_share,
        doubling_gain=of_codes.gain,
        information_gain_doubling=of_codes.gain - inside.gain,
        label_singleton_share=inside.singleton_share,
        label_doubling_gain=inside.gain,
        permutation_z=_finite(z),
        reading="population" if population else "sample",
        flag=judge(of_codes, inside, headroom=headroom, population=population),
    )


def _intervals(
    of_codes: Corrected,
    inside: Corrected,
    errors: tuple[float, float],
    plugin_entropy: float,
    capacity: float,
    classes: int,
) -> tuple[Interval, Interval]:
    """Intervals of H(T), of `capacity` bits at most, and of I(T;Y)."""
    ceiling = min(capacity, math.log2(classes))
    return (
        entropy_interval(of_codes, error=errors[0], plugin=plugin_entropy, capacity=capacity),
        information_interval(of_codes, inside, error=errors[1], ceiling=ceiling),
    )


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
