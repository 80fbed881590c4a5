"""A tiled row computed slowly and obviously, over the same memory: what the kernels are compared with.

One output pixel after the other, its terms one after the other; nothing is vectorised but the channels.
Like the kernels it computes whole vectors of 16 channels. Sums of MULTIPLY and SIGNED are rounded after
each product and each sum, those of the kernels in another way; they agree where all of it is exact.
"""

from __future__ import annotations

import ctypes
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from bitlens.engine.kernels import rows

Floats = npt.NDArray[np.float32]


def peek(address: int | np.int64, dtype: npt.DTypeLike, count: int) -> npt.NDArray:
    """The memory at an address as an array, which may be written."""
    kind = np.dtype(dtype)
    memory = (ctypes.c_uint8 * (kind.itemsize * count)).from_address(int(address))
    return np.ctypeslib.as_array(memory).view(kind)


def tiled(row: npt.NDArray[np.int64]) -> None:
    """Compute a row whose opcode is one of `rows.TILED_OPCODES`."""
    height, width = int(row[rows.HEIGHT]), int(row[rows.OUT_WIDTH])
    steps = peek(row[rows.STEPS], np.int64, int(row[rows.STEP_COUNT]) * rows.STEP_WIDTH)
    with np.errstate(all="ignore"):
        for y in range(height):
            for x in range(width):
                t = _begin(row, y, x, _accumulate(row, y, x))
                for step in steps.reshape(-1, rows.STEP_WIDTH):
                    t = _step(step, y, x, t)


def _accumulate(row: npt.NDArray[np.int64], y: int, x: int) -> npt.NDArray:
    """The accumulators of all output channels of a pixel, up to a multiple of 16."""
    channels = -(-int(row[rows.GROUP_CHANNELS]) // 16) * 16
    offsets = _offsets(row)
    window = int(row[rows.INPUT] + y * row[rows.INPUT_ROW] + x * row[rows.INPUT_PIXEL])
    if row[rows.OPCODE] in (rows.MAXIMUM, rows.SUM):
        values = [peek(window + offset, np.float32, channels) for offset in offsets]
        return _largest(values) if row[rows.OPCODE] == rows.MAXIMUM else _sum(values)
    blocks = -(-channels // 64)
    parts = []
    for group in range(int(row[rows.GROUPS])):
        start = window + group * int(row[rows.GROUP_STEP])
        for block in range(blocks):
            index = group * blocks + block
            weights = int(row[rows.WEIGHTS]) + index * int(row[rows.BLOCK_STEP])
            sums = _weighted(int(row[rows.OPCODE]), start, offsets, weights)
            parts.append(sums[: channels - 64 * block])
    return np.concatenate(parts)


def _offsets(row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """To each term; for DOT to each byte of each term, (terms, 4)."""
    terms = int(row[rows.TERMS])
    if row[rows.OPCODE] != rows.DOT:
        return peek(row[rows.OFFSETS], np.int64, terms)
    offsets = peek(row[rows.OFFSETS], np.int64, terms + 4 * int(row[rows.LOOSE]))
    return np.concatenate([offsets[:terms, None] + np.arange(4), offsets[terms:].reshape(-1, 4)])


def _largest(values: list[npt.NDArray]) -> Floats:
    best = np.full(len(values[0]), -np.inf, np.float32)
    for value in values:
        best = np.where((value > best) | np.isnan(value), value, best)
    return best


def _sum(values: list[npt.NDArray]) -> Floats:
    total = np.zeros(len(values[0]), np.float32)
    for value in values:
        total = total + value
    return total


def _weighted(opcode: int, start: int, offsets: npt.NDArray, weights: int) -> npt.NDArray:
    """The accumulators of a block of 64 output channels."""
    terms = len(offsets)
    if opcode == rows.POPCOUNT:
        w = peek(weights, np.uint32, terms * 64).reshape(terms, 64)
        x = np.array([peek(start + offset, np.uint32, 1)[0] for offset in offsets])
        return np.bitwise_count(x[:, None] ^ w).astype(np.int64).sum(0)
    if opcode == rows.DOT:
        w = peek(weights, np.int8, terms * 256).reshape(terms, 64, 4).astype(np.int64)
        bytes_ = [peek(start + offset, np.uint8, 1)[0] for offset in offsets.reshape(-1)]
        x = np.array(bytes_, np.int64).reshape(-1, 4)
        return (x[:, None, :] * w).sum((0, 2))
    x = np.array([peek(start + offset, np.float32, 1)[0] for offset in offsets])
    if opcode == rows.MULTIPLY:
        w = peek(weights, np.float32, terms * 64).reshape(terms, 64)
    else:
        bits = peek(weights, np.uint8, terms * 8).reshape(terms, 8)
        bits = np.unpackbits(bits, axis=1, bitorder="little").astype(np.float32)
        w = 2 * bits - 1
    total = np.zeros(64, np.float32)
    for k in range(terms):
        total = total + x[k] * w[k]
    return total


def _begin(row: npt.NDArray[np.int64], y: int, x: int, sums: npt.NDArray) -> Floats:
    opcode, count = row[rows.OPCODE], len(sums)
    if opcode in (rows.MULTIPLY, rows.SIGNED, rows.MAXIMUM):
        return sums
    of_row = peek(row[rows.CLASS_ROW], np.int64, y + 1)[y]
    of_column = peek(row[rows.CLASS_COLUMN], np.int64, x + 1)[x]
    address = int(row[rows.OFFSET] + of_row + of_column)
    if opcode == rows.POPCOUNT:
        left = peek(address, np.int32, count) - sums
        return left.astype(np.float32) * peek(row[rows.GAIN], np.float32, count)
    offset = peek(address, np.float32, count)
    if opcode == rows.SUM:
        return np.divide(sums, offset, dtype=np.float32)
    return sums.astype(np.float32) * peek(row[rows.GAIN], np.float32, count) + offset


def _step(step: npt.NDArray[np.int64], y: int, x: int, t: Floats) -> Floats:
    """One step of all output channels of a pixel: the new t."""
    kind, count = step[rows.KIND], len(t)
    place = int(step[rows.PLACE] + y * step[rows.PLACE_ROW] + x * step[rows.PLACE_PIXEL])
    if kind in (rows.STEP_STORE, rows.STEP_SIGN, rows.STEP_QUANTIZE):
        _write(step, place, t)
        return t
    if kind == rows.STEP_ADD_VALUE:
        return t + peek(place, np.float32, count)
    if kind == rows.STEP_MULTIPLY_VALUE:
        return t * peek(place, np.float32, count)
    if kind == rows.STEP_CLAMP:
        low, high = peek(step[rows.A], np.float32, 2)
        t = np.where(t < low, low, t)
        return np.where(t > high, high, t)
    a = peek(step[rows.A], np.float32, count)
    if kind == rows.STEP_MULTIPLY:
        return t * a
    if kind == rows.STEP_ADD:
        return t + a
    if kind == rows.STEP_PRELU:
        return np.where(t > 0, t, t * a)
    return multiply_add(t, a, peek(step[rows.B], np.float32, count))


def multiply_add(t: Floats, a: Floats, b: Floats) -> Floats:
    """t * a + b in rational numbers, rounded once."""
    values = zip(t.tolist(), a.tolist(), b.tolist(), strict=True)
    return np.array([_multiply_add(u, v, w) for u, v, w in values], np.float32)


def _multiply_add(t: float, a: float, b: float) -> float:
    about = t * a + b
    if not math.isfinite(about) or about == 0:
        return about
    exact = Fraction(t) * Fraction(a) + Fraction(b)
    near = np.float32(about)
    sides = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))

    def distance(candidate: np.float32) -> tuple[Fraction, int]:
        return abs(Fraction(float(candidate)) - exact), int(candidate.view(np.uint32)) & 1

    return float(min((c for c in sides if np.isfinite(c)), key=distance))


def _write(step: npt.NDArray[np.int64], place: int, t: Floats) -> None:
    kind, limit = step[rows.KIND], int(step[rows.LIMIT])
    if kind == rows.STEP_STORE:
        peek(place, np.float32, min(limit, len(t)))[:] = t[:limit]
    elif kind == rows.STEP_QUANTIZE:
        scale, zero = peek(step[rows.A], np.float32, 2)
        levels = np.rint(t * scale) + zero
        levels = np.where(levels > 0, np.minimum(levels, 255), 0)
        peek(place, np.uint8, min(limit, len(t)))[:] = levels[:limit].astype(np.uint8)
    else:
        bits = t >= peek(step[rows.A], np.float32, len(t))
        words = np.packbits(bits, bitorder="little").view(np.uint16)
        flips = peek(step[rows.B], np.uint16, len(words))
        peek(place, np.uint16, len(words))[:] = words ^ flips
