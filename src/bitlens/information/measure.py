"""Entropy of codes by any of the estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bitlens.information.counts import Fingerprint, count_codes
from bitlens.information.entropies import get

if TYPE_CHECKING:
    from bitlens.information.codes import Codes


def entropy(
    observed: Codes | Fingerprint | npt.ArrayLike,
    method: str = "plugin",
    support: float | None = None,
) -> float:
    """Entropy in bits.

    Args:
        observed: (k,) counts of the symbols in any order, their `Fingerprint`, or a layer's `Codes`.
            An array is read as counts, never as codes (`mutual_information` reads codes):
            count bare ids or hashes by np.unique(..., return_counts=True)[1].
        method: a name from `bitlens.information.entropies.ESTIMATORS`.
        support: number of possible symbols, for `nsb`; by default that of the `Codes`.

    Raises:
        BitlensError: an unknown method, no samples, counts that are not whole numbers, codes given as
            counts where that can be told, or no support where the method needs it.

    Example:
        >>> entropy([2, 1, 1])
        1.5
    """
    estimate = get(method)
    if isinstance(observed, Fingerprint):
        return estimate(observed, support)
    hashes = getattr(observed, "hashes", None)
    if hashes is None:
        return estimate(Fingerprint.of(np.asarray(observed)), support)
    possible = getattr(observed, "support", None) if support is None else support
    return estimate(Fingerprint.of(count_codes(hashes)), possible)
