"""How often codes occur, and how often each count occurs: all that entropy estimators look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitlens.errors import BitlensError

Hashes = npt.NDArray[np.uint64]
"""(n,) 64-bit hashes, or (n, 2) where 128 bits were asked for."""


_MOST_SAMPLES = 2**53
"""Beyond, a float no longer tells a count from the next."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The counts of counts of a sample: `how_many[k]` codes were seen `times[k]` times each.

    Attributes:
        times: (m,) int64, distinct counts, ascending, at least 1.
        how_many: (m,) int64, number of codes with that count.
    """

    times: npt.NDArray[np.int64]
    how_many: npt.NDArray[np.int64]

    @classmethod
    def of(cls, counts: npt.ArrayLike) -> Fingerprint:
        """The fingerprint of counts; zeros are codes that were not seen and are left out.

        Raises:
            BitlensError: no positive count, counts that are not whole numbers of samples, or what looks
                like codes: a table, unsigned 64-bit numbers, or more samples in all than 2**53.
        """
        given = np.asarray(counts)
        if given.ndim != 1 or given.dtype == np.uint64:
            raise _no_counts(f"an array of shape {given.shape} and type {given.dtype}")
        refused = BitlensError("counts: every entry must be a whole number of samples, 0 or more")
        if given.dtype.kind not in "iuf" or not np.isfinite(given).all():
            raise refused
        total = float(np.abs(given.astype(np.float64)).sum())
        if total >= _MOST_SAMPLES:
            raise _no_counts(f"numbers that sum to {total:.3g} samples")
        whole = given.astype(np.int64)
        if not np.array_equal(whole, given) or (whole < 0).any():
            raise refused
        whole = whole[whole > 0]
        if not len(whole):
            raise BitlensError("counts: there is no sample in them")
        times, how_many = np.unique(whole, return_counts=True)
        return cls(times, how_many.astype(np.int64))

    @property
    def samples(self) -> int:
        """Number N of samples."""
        return int(self.times @ self.how_many)

    @property
    def distinct(self) -> int:
        """Number of different codes seen."""
        return int(self.how_many.sum())

    def seen(self, times: int) -> int:
        """Number of codes seen exactly `times` times (f1 for 1, f2 for 2)."""
        return int(self.how_many[self.times == times].sum())


def _no_counts(given: str) -> BitlensError:
    return BitlensError(
        f"counts: {given}; that takes counts, not codes; give Codes or "
        "np.unique(..., return_counts=True)[1]"
    )


def count_codes(hashes: Hashes) -> npt.NDArray[np.int64]:
    """How often each distinct hash occurs, in order of the hashes; (n,) or (n, 2) -> (k,).

    Sorting bare hashes is several times faster than grouping with an inverse.
    """
    if hashes.ndim == 2:
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))
        ordered = hashes[order]
        fresh = (ordered[1:] != ordered[:-1]).any(1)
    else:
        ordered = np.sort(hashes)
        fresh = ordered[1:] != ordered[:-1]
    edges = np.concatenate([[0], np.flatnonzero(fresh) + 1, [len(hashes)]])
    return np.diff(edges) if len(hashes) else np.empty(0, np.int64)
