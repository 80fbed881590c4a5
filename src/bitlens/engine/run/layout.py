"""Weights as the tiles read them: blocks of 64 output channels, term by term."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import BLOCK, LANES
from bitlens.engine.words import blocks_for, unpack_rows, words_for

Array = npt.NDArray[Any]


def merge_groups(weights: Array, groups: int) -> tuple[Array, int]:
    """Join groups, zeros between them, until a group's output channels fill whole vectors.

    Args:
        weights: (o, kh, kw, cg).
        groups: groups of the convolution.

    Returns:
        The weights with more input channels a group, and the groups left.
    """
    o, kh, kw, cg = weights.shape
    each = o // groups
    joined = next(
        (m for m in range(1, groups) if groups % m == 0 and m * each % LANES == 0), groups
    )
    if joined == 1:
        return weights, groups
    merged = np.zeros((groups // joined, joined, each, kh, kw, joined, cg), weights.dtype)
    apart = weights.reshape(groups // joined, joined, each, kh, kw, cg)
    for part in range(joined):
        merged[:, part, :, :, :, part] = apart[:, part]
    return merged.reshape(o, kh, kw, joined * cg), groups // joined


def blocked(filters: Array, groups: int) -> Array:
    """Filters (o, terms, ...) to (groups * blocks, terms, 64, ...), zeros where a block is not full."""
    o, terms, *rest = filters.shape
    each = o // groups
    blocks = blocks_for(each)
    wide = np.zeros((groups, blocks * BLOCK, terms, *rest), filters.dtype)
    wide[:, :each] = filters.reshape(groups, each, terms, *rest)
    return aligned(np.moveaxis(wide.reshape(groups * blocks, BLOCK, terms, *rest), 1, 2))


def dot_blocks(weights: npt.NDArray[np.int8], groups: int) -> Array:
    """int8 (o, kh, kw, cg) to (blocks, terms, 64, 4): the channels of each position in fours."""
    o, kh, kw, cg = weights.shape
    fours = np.zeros((o, kh * kw, 4 * -(-cg // 4)), np.int8)
    fours[:, :, :cg] = weights.reshape(o, kh * kw, cg)
    return blocked(fours.reshape(o, -1, 4), groups)


def multiply_blocks(weights: Array, groups: int) -> Array:
    """Numbers (o, kh, kw, cg) to float32 (blocks, terms, 64)."""
    return blocked(weights.reshape(len(weights), -1).astype(np.float32), groups)


def signed_blocks(words: npt.NDArray[np.uint32], channels: int, groups: int) -> Array:
    """Signs uint32 (o, kh, kw, words) to (blocks, terms, 2), bit j for output channel j."""
    signs = unpack_rows(words, channels).transpose(0, 2, 3, 1)
    bits = blocked((signs.reshape(len(signs), -1) > 0).astype(np.uint8), groups)
    return aligned(np.packbits(bits, axis=-1, bitorder="little").view("<u4"))


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
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
