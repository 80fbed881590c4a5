"""Codes and labels of the same samples -> how often each code, each label and each pair occurs.

The table is sparse: only pairs that occur have an entry, so it never has more entries than samples. One
sort makes it: hashes move up by the few bits that a label needs, and the label goes below. A second
sort, of the hashes alone, counts the distinct codes; if the bits that were pushed out at the top had told
two codes apart, that count would differ, and codes are renamed 0, 1, 2, ... first. So the table is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitlens.errors import BitlensError
from bitlens.information.counts import Fingerprint, Hashes, count_codes

if TYPE_CHECKING:
    from bitlens.information.codes import Codes

Integers = npt.NDArray[np.int64]
_ROWS = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Contingency:
    """Counts of codes, labels and their pairs.

    Attributes:
        codes: (k,) int64, samples per distinct code.
        labels: (c,) int64, samples per distinct label, labels ascending.
        cells: (m,) int64, samples per pair of code and label that occurs.
        cell_code: (m,) int64, the pair's code as a place in `codes`.
        cell_label: (m,) int64, the pair's label as a place in `labels`.
    """

    codes: Integers
    labels: Integers
    cells: Integers
    cell_code: Integers
    cell_label: Integers

    @property
    def samples(self) -> int:
        """Number N of samples."""
        return int(self.labels.sum())

    def per_label(self) -> Iterator[Fingerprint]:
        """The fingerprint of the codes of each label, labels ascending."""
        base = int(self.cells.max()) + 1
        kinds, how_many = np.unique(self.cell_label * base + self.cells, return_counts=True)
        ends = np.searchsorted(kinds, np.arange(1, len(self.labels)) * base)
        times = np.split(kinds % base, ends)
        for one, other in zip(times, np.split(how_many, ends), strict=True):
            yield Fingerprint(one, other.astype(np.int64))


def tabulate(codes: Codes | npt.NDArray[Any], labels: npt.ArrayLike) -> Contingency:
    """Count codes, labels and pairs.

    Args:
        codes: `Codes`, or an array: (n,) hashes or integer ids, (n, 2) uint64 hashes of 128 bits,
            (n, d) booleans.
        labels: (n,) integers.

    Raises:
        BitlensError: lengths differ, labels that are not integers, no samples, or an array of codes of
            another kind.
    """
    hashes, named = as_hashes(codes), as_labels(labels)
    if len(hashes) != len(named):
        raise BitlensError(
            f"codes hold {len(hashes)} samples, labels {len(named)}; they must be the same samples"
        )
    if not len(hashes):
        raise BitlensError("codes and labels are empty; at least one sample is needed")
    places, totals = _rename(named)
    room = (len(totals) - 1).bit_length()
    if hashes.ndim == 1:
        table = _from_keys(hashes, places, totals, room)
        if len(table.codes) == len(count_codes(hashes)):
            return table
    return _from_keys(_ids(hashes), places, totals, room)


def as_hashes(codes: Codes | npt.NDArray[Any]) -> Hashes:
    """What tells codes apart, (n,) or (n, 2) uint64, from any way to give codes.

    Raises:
        BitlensError: an array that is none of the ways `tabulate` lists.
    """
    given = codes if isinstance(codes, np.ndarray) else getattr(codes, "hashes", None)
    if given is None:
        given = np.asarray(codes)
    if given.ndim == 1 and given.dtype.kind in "iub":
        return given.astype(np.int64).view(np.uint64) if given.dtype != np.uint64 else given
    if given.ndim == 2 and given.dtype == np.uint64 and given.shape[1] == 2:
        return given
    if given.ndim == 2 and given.dtype.kind == "b":
        return _hash_bits(given)
    raise BitlensError(
        f"codes of shape {given.shape} and type {given.dtype}; give Codes, (n,) integers, (n, 2) uint64 "
        "hashes or (n, d) booleans"
    )


def _hash_bits(bits: npt.NDArray[np.bool_]) -> Hashes:
    """Hashes of unpacked rows, in blocks so that packed rows of a wide layer are never all held."""
    # Imported here as it brings torch along, which readers of plain arrays do without.
    from bitlens.information.codes import hash_rows, pack_rows

    hashes = np.empty(len(bits), np.uint64)
    for start in range(0, len(bits), _ROWS):
        block = slice(start, start + _ROWS)
        hashes[block] = hash_rows(pack_rows(bits[block]))
    return hashes


def as_labels(labels: npt.ArrayLike) -> Integers:
    """Classes as int64 (n,).

    Raises:
        BitlensError: not one axis, or not integers.
    """
    given = np.asarray(labels)
    if given.ndim != 1:
        raise BitlensError(f"labels of shape {given.shape}; give one integer per sample, (n,)")
    if given.dtype.kind not in "iub" and len(given):
        bad = next((str(value) for value in given if value != value), str(given[0]))
        raise BitlensError(
            f"labels of type {given.dtype} (such as {bad}); classes must be integers: number them first"
        )
    return given.astype(np.int64)


def _rename(labels: Integers) -> tuple[Integers, Integers]:
    """Labels as places 0, 1, ... in ascending order, and the samples of each."""
    if labels.min() < 0 or labels.max() > 4 * len(labels):
        _, places, totals = np.unique(labels, return_inverse=True, return_counts=True)
        return places.reshape(-1), totals.astype(np.int64)
    totals = np.bincount(labels)
    if totals.all():
        return labels, totals
    return (np.cumsum(totals > 0) - 1)[labels], totals[totals > 0]


def _ids(hashes: Hashes) -> Hashes:
    """The codes renamed 0, 1, 2, ..., which leaves the high bits free."""
    if hashes.ndim == 1:
        return np.unique(hashes, return_inverse=True)[1].reshape(-1).astype(np.uint64)
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    ordered = hashes[order]
    fresh = np.concatenate([[False], (ordered[1:] != ordered[:-1]).any(1)])
    ids = np.empty(len(hashes), np.uint64)
    ids[order] = np.cumsum(fresh).astype(np.uint64)
    return ids


def _from_keys(hashes: Hashes, places: Integers, totals: Integers, room: int) -> Contingency:
    keys = np.sort((hashes << np.uint64(room)) | places.view(np.uint64))
    edges = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
    cells = np.diff(edges, append=len(keys))
    pairs = keys[edges]
    kept = pairs >> np.uint64(room)
    fresh = np.concatenate([[True], kept[1:] != kept[:-1]])
    return Contingency(
        codes=np.add.reduceat(cells, np.flatnonzero(fresh)),
        labels=totals,
        cells=cells,
        cell_code=np.cumsum(fresh) - 1,
        cell_label=(pairs & np.uint64((1 << room) - 1)).astype(np.int64),
    )
