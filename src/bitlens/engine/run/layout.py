"""Weights as the tiles read them: blocks of 64 output channels, term by term."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import BLOCK, LANES
from bitlens.engine.words import WORD, blocks_for, words_for

Array = npt.NDArray[Any]
PART = 4096
"""Channels whose signs are unpacked at once; whole words."""


def joined_groups(groups: int, each: int) -> list[tuple[int, int]]:
    """How groups of `each` output channels are joined until they fill whole vectors.

    Returns:
        For one or two runs of groups: how many groups, and how many of them are joined. What is over is
        joined to one, whose vectors need not be full.
    """
    together = LANES // math.gcd(each, LANES)
    if groups == 1 or together == 1:
        return [(groups, 1)]
    over = groups % together
    runs = [(groups - over, together), (over, over)]
    return [run for run in runs if run[0]]


def merge_groups(weights: Array, groups: int, together: int) -> Array:
    """Join so many groups each time, zeros between them.

    Args:
        weights: (o, kh, kw, cg).
        groups: groups of the convolution, a multiple of `together`.
        together: groups that become one.

    Returns:
        The weights with as many more input channels a group.
    """
    if together == 1:
        return weights
    o, kh, kw, cg = weights.shape
    left, each = groups // together, o // groups
    merged = np.zeros((left, together, each, kh, kw, together, cg), weights.dtype)
    apart = weights.reshape(left, together, each, kh, kw, cg)
    for part in range(together):
        merged[:, part, :, :, :, part] = apart[:, part]
    return merged.reshape(o, kh, kw, together * cg)


def blocked(filters: Array, groups: int) -> Array:
    """Filters (o, terms, ...) to (groups * blocks, terms, 64, ...), zeros where a block is not full."""
    o, terms, *rest = filters.shape
    each = o // groups
    blocks = aligned_zeros((groups, blocks_for(each), terms, BLOCK, *rest), filters.dtype)
    grouped = filters.reshape(groups, each, terms, *rest)
    for block in range(blocks.shape[1]):
        part = grouped[:, block * BLOCK : (block + 1) * BLOCK]
        blocks[:, block, :, : part.shape[1]] = np.moveaxis(part, 1, 2)
    return blocks.reshape(-1, terms, BLOCK, *rest)


def dot_blocks(weights: npt.NDArray[np.int8], groups: int) -> Array:
    """int8 (o, kh, kw, cg) to (blocks, terms, 64, 4): the channels of each position in fours."""
    o, kh, kw, cg = weights.shape
    fours = np.zeros((o, kh * kw, 4 * -(-cg // 4)), np.int8)
    fours[:, :, :cg] = weights.reshape(o, kh * kw, cg)
    return blocked(fours.reshape(o, -1, 4), groups)


def multiply_blocks(weights: Array, groups: int) -> Array:
    """Numbers (o, kh, kw, cg) to float32 (blocks, terms, 64)."""
    return blocked(weights.reshape(len(weights), -1).astype(np.float32, copy=False), groups)


def signed_blocks(words: npt.NDArray[np.uint32], channels: int, groups: int) -> Array:
    """Signs uint32 (o, kh, kw, words) to (blocks, terms, 2), bit j for output channel j."""
    o, kh, kw, _ = words.shape
    each = o // groups
    blocks = aligned_zeros((groups * blocks_for(each), kh * kw, channels, 8), np.uint8)
    filters = words.reshape(groups, each, kh * kw, -1)
    for block, target in enumerate(blocks):
        group, first = divmod(block, blocks_for(each))
        of = filters[group, first * BLOCK : (first + 1) * BLOCK]
        for at in np.ndindex(kh * kw, -(-channels // PART)):
            start = at[1] * PART
            some = np.ascontiguousarray(of[:, at[0], start // WORD : (start + PART) // WORD])
            count = min(PART, channels - start)
            bits = np.unpackbits(some.view(np.uint8), axis=-1, count=count, bitorder="little")
            packed = np.packbits(bits, axis=0, bitorder="little")
            target[at[0], start : start + count, : len(packed)] = packed.T
    return blocks.reshape(len(blocks), -1, 8).view("<u4")


def tap_sums(
    blocks: npt.NDArray[np.uint32], shape: tuple[int, int, int, int], groups: int
) -> npt.NDArray[np.int64]:
    """Sum of a binary convolution's signs over a group's channels, int64 (o, kh, kw).

    Args:
        blocks: uint32 (groups * blocks, kh * kw * words, 64).
        shape: (o, kh, kw, cg).
        groups: groups of the convolution.
    """
    o, kh, kw, cg = shape
    ones = np.bitwise_count(blocks).reshape(groups, -1, kh * kw, words_for(cg), BLOCK)
    filters = ones.sum(3, dtype=np.int64).swapaxes(2, 3).reshape(groups, -1, kh, kw)
    return 2 * filters[:, : o // groups].reshape(o, kh, kw) - cg


def where_it_lies(array: Array) -> Array:
    """The array itself if it is contiguous and lies as a file keeps it, at a multiple of 64 bytes.

    Else a copy that does: vectors across two lines of the cache cost some 5 % of a net's time.
    """
    start = array.__array_interface__["data"][0]
    return array if array.flags.c_contiguous and start % 64 == 0 else aligned(array)


def aligned(array: Array) -> Array:
    """A contiguous copy that starts at a multiple of 64 bytes."""
    copy = aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Zeros that start at a multiple of 64 bytes."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)
