"""Miller-Madow entropy: H_plugin + (K_observed - 1) / (2 N ln 2).

Cost: O(number of distinct counts). Bias: removes the 1/N term as long as every code that can occur has
been seen; what unseen codes would add is missing. Valid: N several times the number of codes
(Miller, 1955). Its difference over a table of codes and labels is the Panzeri-Treves correction.
"""

from __future__ import annotations

import math

from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import plugin


def estimate(fingerprint: Fingerprint, support: float | None = None) -> float:
    """Miller-Madow entropy in bits; `support` is not used."""
    first_order = (fingerprint.distinct - 1) / (2 * fingerprint.samples * math.log(2))
    return plugin.estimate(fingerprint) + first_order
