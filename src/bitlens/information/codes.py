"""Activations of a layer -> one hash per sample, streamed in any batches and merged in any order.

A binary layer's state for one sample is its row of signs. Two samples share a code exactly when they
share the row, so a row can be replaced by a hash of its packed bits: 8 bytes a sample whatever the width
of the layer. With n distinct codes two of them get the same 64-bit hash with probability at most
n^2 / 2^65 (1e-10 for 60,000 samples), and one such accident moves an entropy by at most 2 log2(N) / N bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.information.counts import Hashes

WORD = 64
_SHIFTS = (32, 29, 32)
_FACTORS = (0xBEA225F9EB34556D, 0x9FB21C651E98DF25)
_STEP = 0x9E3779B97F4A7C15
_SECOND_STREAM = 0xD1342543DE82EF95
_ALL = 0xFFFFFFFFFFFFFFFF
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Codes:
    """One layer's codes of a set of samples.

    Attributes:
        hashes: (n,) uint64, or (n, 2) where 128 bits were asked for; equal hashes are equal codes.
        units: number D of units in the layer.
        levels: values a unit can take, so that levels ** units codes are possible.
    """

    hashes: Hashes
    units: int
    levels: int = 2

    @property
    def support(self) -> float:
        """Number of possible codes, levels ** units; infinite where a float cannot hold it."""
        try:
            return float(self.levels**self.units)
        except OverflowError:
            return float("inf")

    def ids(self) -> npt.NDArray[np.int64]:
        """(n,) the codes renamed 0, 1, 2, ... in order of their hashes."""
        if self.hashes.ndim == 2:
            rows = np.ascontiguousarray(self.hashes).view([("a", "<u8"), ("b", "<u8")])[:, 0]
            return np.unique(rows, return_inverse=True)[1].reshape(-1)
        return np.unique(self.hashes, return_inverse=True)[1].reshape(-1)

    def __len__(self) -> int:
        return len(self.hashes)


def pack_rows(bits: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Pack (n, d) booleans, or integers that are 0 or not, into (n, ceil(d / 64)) words.

    Bit j of word i is entry 64 i + j; the tail of the last word is zero.
    """
    # packbits keeps the order of its input in memory; words need rows that lie together.
    octets = np.ascontiguousarray(np.packbits(bits, axis=1, bitorder="little"))
    missing = -octets.shape[1] % 8
    if missing:
        octets = np.pad(octets, ((0, 0), (0, missing)))
    return octets.view("<u8").astype(np.uint64, copy=False)


def hash_rows(words: npt.NDArray[np.uint64], bits: int = 64) -> Hashes:
    """Hash packed rows: (n, w) uint64 -> (n,) uint64, or (n, 2) with bits=128.

    Every word passes through a 64-bit finaliser (xor-shift and multiply, twice), its place added in
    first, so rows whose words are swapped differ.

    Raises:
        BitlensError: `bits` is neither 64 nor 128.
    """
    if bits == 64:
        return _hash_stream(words, 0)
    if bits != 128:
        raise BitlensError(f"hash_rows: bits={bits}; choose 64, or 128 for an exactness test")
    return np.stack([_hash_stream(words, 0), _hash_stream(words, _SECOND_STREAM)], axis=1)


def _hash_stream(words: npt.NDArray[np.uint64], start: int) -> Hashes:
    state = np.full(len(words), start, dtype=np.uint64)
    scratch = np.empty_like(state)
    for place in range(words.shape[1]):
        state ^= words[:, place]
        state += np.uint64(_STEP * (2 * place + 1) & _ALL)
        for shift, factor in zip(_SHIFTS[:2], _FACTORS, strict=True):
            np.right_shift(state, np.uint64(shift), out=scratch)
            state ^= scratch
            state *= np.uint64(factor)
        np.right_shift(state, np.uint64(_SHIFTS[2]), out=scratch)
        state ^= scratch
    return state


def _hash_tensor(bits: Tensor, start: int) -> Tensor:
    """`hash_rows(pack_rows(bits))` where the tensor lies: the same arithmetic, wrapping in int64."""
    n, units = bits.shape
    padded = torch.nn.functional.pad(bits.to(torch.int64), (0, -units % WORD))
    places = torch.arange(WORD, device=bits.device, dtype=torch.int64)
    words = (padded.view(n, -1, WORD) << places).sum(2)
    state = torch.full((n,), _signed(start), dtype=torch.int64, device=bits.device)
    for place in range(words.shape[1]):
        state = (state ^ words[:, place]) + _signed(_STEP * (2 * place + 1) & _ALL)
        for shift, factor in zip(_SHIFTS[:2], _FACTORS, strict=True):
            state = (state ^ _logical_shift(state, shift)) * _signed(factor)
        state = state ^ _logical_shift(state, _SHIFTS[2])
    return state


def _logical_shift(x: Tensor, places: int) -> Tensor:
    return (x >> places) & ((1 << (WORD - places)) - 1)


def _signed(value: int) -> int:
    return value - (1 << WORD) if value >> (WORD - 1) else value


def hash_signs(activations: Tensor, bits: int = 64) -> Hashes:
    """Hash the sign pattern of each row: (n, ...) activations -> (n,) or (n, 2) uint64.

    Bit 1 where the activation is >= 0, as everywhere in this package; all axes but the first are the
    units of the layer. A tensor on an accelerator is packed and hashed there and only hashes travel.

    Raises:
        BitlensError: an activation is NaN, or there is no axis of units.
    """
    if activations.dim() < 2:
        raise BitlensError(
            f"activations of shape {tuple(activations.shape)}: a row per sample is needed, (n, ...)"
        )
    rows = activations.detach().flatten(1)
    if rows.is_floating_point() and bool(rows.sum().isnan()) and bool(rows.isnan().any()):
        first = int(rows.isnan().any(1).nonzero()[0])
        raise BitlensError(f"activations hold NaN (first in row {first} of the batch)")
    if bits not in (64, 128):
        raise BitlensError(f"hash_signs: bits={bits}; choose 64, or 128 for an exactness test")
    starts = (0,) if bits == 64 else (0, _SECOND_STREAM)
    if rows.device.type != "cpu":
        streams = [_hash_tensor(rows >= 0, start).cpu().numpy().view(np.uint64) for start in starts]
        return streams[0] if bits == 64 else np.stack(streams, axis=1)
    values = (rows.float() if rows.dtype == torch.bfloat16 else rows).numpy()
    # In blocks, so that the booleans and words of a wide layer stay in the cache.
    starts_of_blocks = range(0, max(len(values), 1), _ROWS)
    blocks = [hash_rows(pack_rows(values[k : k + _ROWS] >= 0), bits) for k in starts_of_blocks]
    return np.concatenate(blocks)


class CodeAccumulator:
    """Collects one layer's codes batch by batch; what was split or merged how leaves no trace.

    Args:
        bits: 64, or 128 where not even a chance of 1e-10 of a collision is wanted.
        levels: values a unit can take (2 for signs).

    Example:
        >>> accumulator = CodeAccumulator()
        >>> accumulator.update(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
        >>> accumulator.result().units
        2
    """

    def __init__(self, bits: int = 64, levels: int = 2) -> None:
        if bits not in (64, 128):
            raise BitlensError(f"CodeAccumulator: bits={bits}; choose 64 or 128")
        self.bits, self.levels = bits, levels
        self.units: int | None = None
        self._hashes: list[Hashes] = []
        self._places: list[npt.NDArray[np.int64]] = []
        self._next = 0

    def update(self, activations: Tensor, places: Tensor | None = None) -> None:
        """Add a batch: (n, ...) activations, read by their signs (>= 0 is +1).

        Args:
            activations: rows of one layer, on any device.
            places: (n,) the samples' places in the whole set; by default the next ones.

        Raises:
            BitlensError: NaN, another number of units than before, or places of another length.
        """
        units = math.prod(activations.shape[1:])
        self.add(hash_signs(activations, self.bits), units, places)

    def add(self, hashes: Hashes, units: int, places: Tensor | None = None) -> None:
        """Add a batch that is hashed already (for read-outs with more than two levels)."""
        if self.units not in (None, units):
            raise BitlensError(
                f"a layer with {self.units} units now gives {units}; a plane needs inputs of one size"
            )
        self.units = units
        if places is None:
            where = np.arange(self._next, self._next + len(hashes))
        else:
            where = places.detach().cpu().numpy().astype(np.int64)
            if where.shape != (len(hashes),):
                raise BitlensError(
                    f"places has shape {where.shape}, the batch {len(hashes)} samples; give one each"
                )
        self._next += len(hashes)
        self._hashes.append(hashes)
        self._places.append(where)

    def merge(self, other: CodeAccumulator) -> None:
        """Take over what another process or machine collected at its own `places`.

        Raises:
            BitlensError: the two differ in bits, levels or units.
        """
        ours, theirs = (self.bits, self.levels), (other.bits, other.levels)
        if ours != theirs or (other.units or self.units) != (self.units or other.units):
            raise BitlensError(
                f"cannot merge codes of {other.units} units (bits, levels {theirs}) into "
                f"{self.units} units (bits, levels {ours})"
            )
        self.units = self.units or other.units
        self._next += other._next
        self._hashes += other._hashes
        self._places += other._places

    def state(self) -> dict[str, Any]:
        """All that was collected, as plain arrays that pickle and travel between processes."""
        return {"bits": self.bits, "levels": self.levels, "units": self.units, **self._arrays()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> CodeAccumulator:
        """Inverse of `state`."""
        made = cls(state["bits"], state["levels"])
        if state["units"] is not None:
            made.add(state["hashes"], state["units"], torch.from_numpy(state["places"]))
        return made

    def _arrays(self) -> dict[str, Any]:
        if not self._hashes:
            shape = (0,) if self.bits == 64 else (0, 2)
            return {"hashes": np.empty(shape, np.uint64), "places": np.empty(0, np.int64)}
        return {"hashes": np.concatenate(self._hashes), "places": np.concatenate(self._places)}

    def result(self) -> Codes:
        """All codes in the order of their places.

        A place that was given twice with the same code (samplers pad the last batch of a process)
        counts once.

        Raises:
            BitlensError: nothing was added; a place is missing, or was given two different codes.
        """
        if self.units is None:
            raise BitlensError("no activations were added to the accumulator")
        collected = self._arrays()
        order = np.argsort(collected["places"], kind="stable")
        places, hashes = collected["places"][order], collected["hashes"][order]
        repeated = np.flatnonzero(places[1:] == places[:-1])
        if len(repeated):
            if not np.array_equal(hashes[repeated], hashes[repeated + 1]):
                raise BitlensError(
                    f"sample {places[repeated[0]]} was given two different codes: is the net in "
                    "evaluation mode, and are the places right?"
                )
            kept = np.concatenate([[True], places[1:] != places[:-1]])
            places, hashes = places[kept], hashes[kept]
        if not np.array_equal(places, np.arange(len(places))):
            absent = int(np.flatnonzero(places != np.arange(len(places)))[0])
            raise BitlensError(f"sample {absent} is missing: some process was not merged")
        return Codes(hashes, self.units, self.levels)
