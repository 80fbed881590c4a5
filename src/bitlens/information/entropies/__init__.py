"""Estimators of Shannon entropy from counts, one a file; `get(name)` imports the one that is asked for.

Every one is `estimate(fingerprint, support=None) -> float` in bits. `support` is the number of possible
symbols; only NSB reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from bitlens.errors import unknown

ESTIMATORS: dict[str, str] = {
    "plugin": "bitlens.information.entropies.plugin:estimate",
    "miller-madow": "bitlens.information.entropies.miller_madow:estimate",
    "grassberger": "bitlens.information.entropies.grassberger:estimate",
    "harmonic": "bitlens.information.entropies.harmonic:estimate",
    "jackknife": "bitlens.information.entropies.jackknife:estimate",
    "half-sample": "bitlens.information.entropies.half_sample:estimate",
    "chao-shen": "bitlens.information.entropies.chao_shen:estimate",
    "chao-wang-jost": "bitlens.information.entropies.chao_wang_jost:estimate",
    "nsb": "bitlens.information.entropies.nsb:estimate",
    "renyi2": "bitlens.information.entropies.renyi2:estimate",
}


def get(name: str) -> Callable[..., float]:
    """The estimator called `name`: a function of (fingerprint, support) that gives bits.

    Raises:
        BitlensError: there is no estimator of that name.
    """
    if name not in ESTIMATORS:
        raise unknown("entropy estimator", name, ESTIMATORS)
    module, _, attribute = ESTIMATORS[name].partition(":")
    return getattr(import_module(module), attribute)
