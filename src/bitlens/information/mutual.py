"""Mutual information of codes and labels, and what it would be by chance.

Plug-in: I(T;Y) = H(T) + H(Y) - H(T,Y), exact for the set that was given. As an estimate for the
population it is too high, by about [sum_y (K_y - 1) - (K - 1)] / (2 N ln 2) bit (K codes, K_y of them with
label y) while the sample is large, and it equals H(Y), whatever the labels, once every code is new.

Any other method c estimates I_c = H_c(T) - sum_y (N_y / N) H_c(T | Y = y), with the same c in all terms.

The mean over shuffled labels is what chance alone gives. It tells whether labels matter at all; the plug-in
minus this mean is no estimate of the information, since shuffling also undoes what is shared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from bitlens.errors import BitlensError
from bitlens.information.contingency import Contingency, tabulate
from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import get, plugin

if TYPE_CHECKING:
    from bitlens.information.codes import Codes

_ROUNDING = 1e-9


def mutual_information(
    codes: Codes | npt.NDArray[Any],
    labels: npt.ArrayLike,
    method: str = "plugin",
    support: float | None = None,
) -> float:
    """I(T;Y) in bits between codes and labels of the same samples.

    Args:
        codes: `Codes`, or an array: (n,) hashes or integer ids, (n, 2) uint64 hashes of 128 bits,
            (n, d) booleans.
        labels: (n,) integers.
        method: a name from `bitlens.information.entropies.ESTIMATORS` other than renyi2.
        support: number of possible codes, for `nsb`; by default that of the `Codes`.

    Returns:
        Bits; the plug-in lies from 0 to H(Y), other estimates may be slightly negative or exceed H(Y).

    Raises:
        BitlensError: an unknown method, lengths differ, labels that are not integers, no samples.
    """
    estimate = get(method)
    if method == "renyi2":
        raise BitlensError(
            "method='renyi2' bounds an entropy from below; a difference of two such bounds bounds nothing: "
            "choose another method"
        )
    table = tabulate(codes, labels)
    if method == "plugin":
        return plugin_information(table)
    possible = getattr(codes, "support", None) if support is None else support
    whole = estimate(Fingerprint.of(table.codes), possible)
    shares = table.labels / table.samples
    return whole - sum(
        share * estimate(one, possible)
        for share, one in zip(shares, table.per_label(), strict=True)
    )


def plugin_information(table: Contingency) -> float:
    """Plug-in I(T;Y) in bits of a table of codes and labels."""
    return max(0.0, _information(table, float(xlogy(table.cells, table.cells).sum())))


def permutation_z(
    codes: Codes | npt.NDArray[Any],
    labels: npt.ArrayLike,
    permutations: int = 19,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How far the plug-in I(T;Y) lies above that of shuffled labels.

    With 19 permutations an information above all of them has p = 0.05.

    Args:
        codes: as for `mutual_information`.
        labels: (n,) integers.
        permutations: number of shuffles, 2 or more.
        seed: of the shuffles; the same seed gives the same answer.

    Returns:
        (z, mean, sd): mean and standard deviation in bits over the shuffles, and the number of standard
        deviations the true labels lie above the mean; 0 where shuffling changes nothing, as when
        all codes differ.

    Raises:
        BitlensError: fewer than 2 permutations, or as for `mutual_information`.
    """
    return permutation_test(tabulate(codes, labels), permutations, seed)


def permutation_test(
    table: Contingency, permutations: int = 19, seed: int = 0
) -> tuple[float, float, float]:
    """`permutation_z` of a table."""
    if permutations < 2:
        raise BitlensError(
            f"permutations={permutations}; a spread needs 2 or more, 19 for p = 0.05"
        )
    drawn = _shuffled(table, permutations, seed)
    mean, sd = float(drawn.mean()), float(drawn.std(ddof=1))
    above = plugin_information(table) - mean
    if sd > _ROUNDING:
        return above / sd, mean, sd
    return (0.0 if abs(above) < 1e-6 else math.copysign(math.inf, above)), mean, 0.0


def _information(table: Contingency, cells: float) -> float:
    """I(T;Y) in bits, given the sum of n ln n over the cells, in nats."""
    samples = table.samples
    of_codes = plugin.estimate(Fingerprint.of(table.codes))
    of_labels = plugin.estimate(Fingerprint.of(table.labels))
    joint = (np.log(samples) - cells / samples) / np.log(2)
    return of_codes + of_labels - float(joint)


def _shuffled(table: Contingency, permutations: int, seed: int) -> npt.NDArray[np.float64]:
    """Plug-in information for shuffled labels.

    The labels are dealt out to samples that lie sorted by code. Codes seen once need no cells: one
    sample's n ln n is 0 whatever its label.
    """
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(table.labels)), table.labels)
    repeated = table.codes[table.codes > 1]
    rows = np.repeat(np.arange(len(repeated)) * len(table.labels), repeated)
    room = len(repeated) * len(table.labels)
    weights = xlogy(np.arange(repeated.max(initial=0) + 1), np.arange(repeated.max(initial=0) + 1))
    base = _information(table, 0.0)
    totals = []
    for _ in range(permutations):
        keys = rows + draw.permutation(labels)[: len(rows)]
        cells = np.bincount(keys) if room < 16 * len(rows) else np.unique_counts(keys).counts
        totals.append(float(weights[cells].sum()))
    raw = base + np.array(totals) / (table.samples * np.log(2))
    return np.maximum(raw, 0.0)
