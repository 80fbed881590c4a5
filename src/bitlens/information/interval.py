"""95 % intervals for the population's H(T) and I(T;Y), from one sample.

Centre: the Chao-Wang-Jost estimate, for I(T;Y) that of all codes minus the mean of that within a label.

Standard error: the jackknife's, that is the delta method with leave-one-out influences. Unlike the
standard deviation of log p it holds the noise of the numbers of codes seen once and twice, from which the
correction is made.

Remaining bias: both sides are widened by the distance to the NSB estimate, which goes wrong in other
ways. What the estimate gained from half the sample to all of it (its drift) is added where it was heading,
since heavy tails deceive both estimators alike. For I(T;Y) = H(T) - H(T|Y) the upper end takes what H(T) may
lack and the lower end what H(T|Y) may lack: H(T|Y) rests on fewer samples and lacks more, so an estimate of
I(T;Y) that is off is too high.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bitlens.information.contingency import Contingency
from bitlens.information.corrected import Corrected
from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import chao_wang_jost

NORMAL_95 = 1.959964
Interval = tuple[float, float]


def entropy_interval(whole: Corrected, *, error: float, plugin: float, capacity: float) -> Interval:
    """Interval of H(T) in bits.

    Args:
        whole: the estimates.
        error: standard error.
        plugin: plug-in H(T), below the truth on average; the lower end when no code was seen twice.
        capacity: largest possible H(T).
    """
    if whole.nsb is None:
        return plugin, max(plugin, capacity)
    reach, gap = NORMAL_95 * error, abs(whole.nsb - whole.cwj)
    below = whole.cwj - reach - gap - max(0.0, -whole.drift)
    above = whole.cwj + reach + gap + max(0.0, whole.drift)
    return _clip(below, 0.0, capacity), _clip(above, 0.0, capacity)


def information_interval(
    whole: Corrected, inside: Corrected, *, error: float, ceiling: float
) -> Interval:
    """Interval of I(T;Y) in bits.

    Args:
        whole: estimates of H(T).
        inside: estimates of H(T|Y).
        error: standard error of the difference.
        ceiling: largest possible I(T;Y).
    """
    if whole.nsb is None or inside.nsb is None:
        return 0.0, ceiling
    value, reach = whole.cwj - inside.cwj, NORMAL_95 * error
    gaps = whole.nsb - whole.cwj, inside.nsb - inside.cwj
    gap = abs(gaps[0] - gaps[1])
    below = value - reach - max(gap, gaps[1]) - max(0.0, inside.drift)
    above = value + reach + max(gap, gaps[0]) + max(0.0, whole.drift)
    return _clip(below, 0.0, ceiling), _clip(above, 0.0, ceiling)


def entropy_error(whole: Fingerprint) -> float:
    """Jackknife standard error of the Chao-Wang-Jost H(T), in bits."""
    return _jackknife_error(chao_wang_jost.leave_one_out(whole), whole.times * whole.how_many)


def information_error(
    table: Contingency, whole: Fingerprint, per_label: list[Fingerprint], estimates: list[float]
) -> float:
    """Jackknife standard error of the Chao-Wang-Jost H(T) - H(T|Y), in bits.

    Leaving out a sample changes the count of its code among all samples, among those of its label, and
    the label's weight.

    Args:
        table: codes and labels.
        whole: fingerprint of all codes.
        per_label: fingerprints of the codes of each label.
        estimates: Chao-Wang-Jost entropies of each label.
    """
    if table.samples == 1:
        return 0.0
    of_code = chao_wang_jost.leave_one_out(whole)
    places = np.searchsorted(whole.times, table.codes[table.cell_code])
    inside = np.array(estimates)
    changes = [
        (samples - 1) * chao_wang_jost.leave_one_out(one) - samples * value
        for samples, one, value in zip(table.labels, per_label, inside, strict=True)
    ]
    base = int(table.cells.max()) + 1
    kinds = np.concatenate([label * base + one.times for label, one in enumerate(per_label)])
    changed = np.concatenate(changes)[np.searchsorted(kinds, table.cell_label * base + table.cells)]
    of_label = (float(table.labels @ inside) + changed) / (table.samples - 1)
    return _jackknife_error(of_code[places] - of_label, table.cells)


def _jackknife_error(without: npt.NDArray[np.float64], weights: npt.NDArray[np.int64]) -> float:
    """Standard error from the leave-one-out estimates, each shared by `weights` samples."""
    samples = int(weights.sum())
    mean = float(weights @ without) / samples
    return math.sqrt((samples - 1) / samples * float(weights @ (without - mean) ** 2))


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
