"""Binning: cut every unit's range into bins and read the row of bin numbers as one symbol.

Formula: T' = (floor((t_1 - low) / w), ..., floor((t_d - low) / w)); I(X;T') = H(T'), I(T';Y) as for any
codes. Two habits of the literature: `bin_codes`, 30 equal bins on [-1, 1] for tanh (Shwartz-Ziv and
Tishby 2017, whose linspace(-1, 1, 30) are 30 edges, hence 29 bins and one for the end point), and
`width_codes`, bins of width 0.5 on the whole line (Saxe et al. 2018).

Cost: O(n d). What comes out are `Codes`, so every entropy estimator, interval and flag for binary codes
applies.
Bias: that of the plug-in on bins^d possible codes: with 5,000 samples, 64 units and 30 bins every code
is distinct and H is log2 5,000 whatever the net does. A sign layer in bins of 0.5 is its sign pattern
exactly.
Validity: the number is a property of net AND bins. It measures how the samples cluster (Goldfeld et al.
2019), not an information of the real-valued layer, which is infinite for continuous inputs. Compare only
equal bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.information.codes import Codes, hash_rows
from bitlens.information.estimators.checks import read_rows

_MOST_BINS = 65536
_FARTHEST = 2**31 - 1


def bin_codes(
    t: Tensor,
    bins: int = 30,
    low: float = -1.0,
    high: float = 1.0,
    *,
    clip: bool = False,
    bits: int = 64,
) -> Codes:
    """Read a layer in equal bins over a stated range.

    Args:
        t: (n, ...) activations; all axes but the first are units.
        bins: bins per unit, 1 to 65,536. A value equal to `high` falls into the last.
        low: lower end of the range; `range_of` finds the layer's own.
        high: upper end of the range.
        clip: put values beyond an end into the bin at that end instead of refusing them.
        bits: 64, or 128 for hashes without any chance of a collision.

    Raises:
        BitlensError: NaN or infinite activations, values outside the range without `clip`, an empty range,
            or a number of bins outside 1 to 65,536.
    """
    if not 1 <= bins <= _MOST_BINS:
        raise BitlensError(f"bins={bins}: choose from 1 to {_MOST_BINS}")
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise BitlensError(f"low={low}, high={high}: the range of the bins is empty or not finite")
    rows = read_rows(t)
    if not clip:
        _refuse_outside(rows, low, high)
    levels = np.subtract(rows, low, dtype=np.float64)
    levels *= bins / (high - low)
    np.clip(levels, 0, bins - 1, out=levels)
    packed = levels.astype(np.uint8 if bins <= 256 else np.uint16)
    return Codes(hash_rows(_pack_levels(packed), bits), rows.shape[1], bins)


def width_codes(t: Tensor, width: float = 0.5, *, bits: int = 64) -> Codes:
    """Read a layer in bins [k width, (k + 1) width) on the whole line.

    The hashes of two batches agree whatever values each holds; `levels` is the number of bins from the
    lowest to the highest that this batch uses, so it is a property of the data.

    Args:
        t: (n, ...) activations; all axes but the first are units.
        width: width of a bin.
        bits: 64, or 128.

    Raises:
        BitlensError: NaN or infinite activations, a width that is not positive or far too small.
    """
    if not (np.isfinite(width) and width > 0):
        raise BitlensError(f"width={width}: the width of a bin must be a positive number")
    rows = read_rows(t)
    places = np.divide(rows, width, dtype=np.float64)
    np.floor(places, out=places)
    lowest, highest = float(places.min()), float(places.max())
    if max(-lowest, highest) > _FARTHEST:
        raise BitlensError(f"width={width} is too small for activations up to {np.abs(rows).max()}")
    hashes = hash_rows(_pack_levels(places.astype(np.int32)), bits)
    return Codes(hashes, rows.shape[1], int(highest - lowest) + 1)


def range_of(t: Tensor) -> tuple[float, float]:
    """The smallest and the largest activation, to be stated as the range of `bin_codes`.

    Raises:
        BitlensError: NaN or infinite activations, or none.
    """
    rows = read_rows(t)
    return float(rows.min()), float(rows.max())


def _refuse_outside(rows: npt.NDArray[Any], low: float, high: float) -> None:
    smallest, largest = float(rows.min()), float(rows.max())
    if smallest < low or largest > high:
        raise BitlensError(
            f"activations reach from {smallest!r} to {largest!r}, outside the bins' range "
            f"[{float(low)!r}, {float(high)!r}]; state a range that holds them (range_of) or set clip=True"
        )


def _pack_levels(levels: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """(n, d) unsigned or signed integers -> (n, words) of 64 bits, the last word's tail zero."""
    per_word = 8 // levels.dtype.itemsize
    n, units = levels.shape
    padded = np.zeros((n, -(-units // per_word) * per_word), dtype=levels.dtype.newbyteorder("<"))
    padded[:, :units] = levels
    return padded.view("<u8").astype(np.uint64, copy=False)
