"""Counts of one set of samples -> its corrected entropies and what they show about remaining bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import chao_wang_jost, nsb
from bitlens.information.entropies.half_sample import doubling_gain
from bitlens.information.entropies.halves import Halves


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """An entropy, or a mean of entropies over labels, in bits.

    Attributes:
        cwj: Chao-Wang-Jost estimate.
        nsb: NSB estimate; None where nothing but its prior would speak.
        drift: change of the Chao-Wang-Jost estimate from half the sample to all of it. An estimate
            that still rises with the sample has not got rid of its bias.
        gain: doubling gain of the plug-in.
        singleton_share: share of the samples whose code was seen once.
    """

    cwj: float
    nsb: float | None
    drift: float
    gain: float
    singleton_share: float

    @classmethod
    def of(cls, fingerprint: Fingerprint, support: float) -> Corrected:
        """Of one set of samples with `support` possible codes."""
        cwj, gain, drift = chao_wang_jost.estimate(fingerprint), 0.0, 0.0
        if fingerprint.samples > 1:
            halves = Halves.of(fingerprint)
            gain = doubling_gain(fingerprint, halves)
            drift = cwj - chao_wang_jost.half_estimate(halves)
        only_singletons = fingerprint.distinct == fingerprint.samples
        return cls(
            cwj=cwj,
            nsb=None
            if only_singletons and math.isinf(support)
            else nsb.estimate(fingerprint, support),
            drift=drift,
            gain=gain,
            singleton_share=fingerprint.seen(1) / fingerprint.samples,
        )

    @classmethod
    def mean(cls, parts: Sequence[Corrected], samples: npt.NDArray[np.int64]) -> Corrected:
        """Of the parts of a set, weighted by their number of samples."""
        share = samples / samples.sum()
        second = [part.nsb for part in parts if part.nsb is not None]
        return cls(
            cwj=float(share @ [part.cwj for part in parts]),
            nsb=float(share @ second) if len(second) == len(parts) else None,
            drift=float(share @ [part.drift for part in parts]),
            gain=float(share @ [part.gain for part in parts]),
            singleton_share=float(share @ [part.singleton_share for part in parts]),
        )
