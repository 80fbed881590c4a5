"""Signs in 32-bit words: how codes and 1-bit weights lie in memory and in the file.

Bit j of word i is channel 32 i + j, set where the sign is +1; bits beyond the channels are zero. Weights of
a binary convolution lie in blocks of 64 output channels, because a kernel reads one word of 64 filters at
a time; those of a sign convolution lie filter by filter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import BLOCK

WORD = 32
"""Signs in a word."""

Signs = npt.NDArray[np.int8]
Words = npt.NDArray[np.uint32]


def words_for(channels: int) -> int:
    """Words that hold one sign for each of `channels` channels."""
    return -(-channels // WORD)


def blocks_for(channels: int) -> int:
    """Blocks that hold `channels` output channels of one group."""
    return -(-channels // BLOCK)


def pack_channels(signs: npt.NDArray) -> Words:
    """Pack signs -1 and +1 along the last axis: (..., c) -> uint32 (..., ceil(c / 32)).

    Raises:
        ValueError: an entry is neither -1 nor +1.
    """
    signs = np.asarray(signs)
    if not (np.abs(signs) == 1).all():
        raise ValueError("only signs, -1 and +1, can be packed")
    channels = signs.shape[-1]
    beyond = words_for(channels) * WORD - channels
    bits = np.pad(signs > 0, [(0, 0)] * (signs.ndim - 1) + [(0, beyond)])
    octets = np.packbits(bits, axis=-1, bitorder="little")
    return np.ascontiguousarray(octets).view("<u4").astype(np.uint32, copy=False)


def unpack_channels(words: npt.NDArray, channels: int) -> Signs:
    """Undo `pack_channels`: uint32 (..., ceil(channels / 32)) -> int8 (..., channels)."""
    octets = np.ascontiguousarray(words, dtype="<u4").view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, count=channels, bitorder="little")
    return (2 * bits.astype(np.int8) - 1).astype(np.int8, copy=False)


def block_shape(shape: tuple[int, int, int, int], groups: int) -> tuple[int, int, int]:
    """Shape of the packed weights of a binary convolution with signs of `shape` (o, cg, kh, kw)."""
    o, cg, kh, kw = shape
    return groups * blocks_for(o // groups), kh * kw * words_for(cg), BLOCK


def pack_blocks(signs: npt.NDArray, groups: int = 1) -> Words:
    """Pack the signs of a binary convolution.

    Args:
        signs: -1 and +1, (o, cg, kh, kw) as torch holds them.
        groups: groups of the convolution; they divide o.

    Returns:
        uint32 (groups * ceil(og / 64), kh * kw * ceil(cg / 32), 64): block, then the words of the window in
        the order row, column, channel word, then output channel.

    Raises:
        ValueError: an entry is neither -1 nor +1.
    """
    o, cg, kh, kw = signs.shape
    filters = pack_channels(signs.transpose(0, 2, 3, 1))
    filters = filters.reshape(groups, o // groups, kh * kw * words_for(cg))
    blocks = blocks_for(o // groups)
    beyond = blocks * BLOCK - o // groups
    filters = np.pad(filters, [(0, 0), (0, beyond), (0, 0)])
    blocked = filters.reshape(groups * blocks, BLOCK, kh * kw * words_for(cg))
    return np.ascontiguousarray(blocked.transpose(0, 2, 1))


def unpack_blocks(words: npt.NDArray, shape: tuple[int, int, int, int], groups: int = 1) -> Signs:
    """Undo `pack_blocks`: the signs, int8 of `shape` (o, cg, kh, kw)."""
    o, cg, kh, kw = shape
    filters = np.asarray(words).transpose(0, 2, 1).reshape(groups, -1, kh * kw * words_for(cg))
    filters = filters[:, : o // groups].reshape(o, kh, kw, words_for(cg))
    return unpack_channels(filters, cg).transpose(0, 3, 1, 2).copy()


def pack_rows(signs: npt.NDArray) -> Words:
    """Pack the signs (o, cg, kh, kw) of a sign convolution: uint32 (o, kh, kw, ceil(cg / 32)).

    Raises:
        ValueError: an entry is neither -1 nor +1.
    """
    return pack_channels(np.asarray(signs).transpose(0, 2, 3, 1))


def unpack_rows(words: npt.NDArray, channels: int) -> Signs:
    """Undo `pack_rows`: the signs, int8 (o, channels, kh, kw)."""
    return unpack_channels(words, channels).transpose(0, 3, 1, 2).copy()


def empty_bits(words: npt.NDArray, channels: int) -> bool:
    """Whether all bits beyond `channels` are zero in words (..., ceil(channels / 32))."""
    used = channels % WORD
    return used == 0 or not (np.asarray(words)[..., -1] >> np.uint32(used)).any()


def empty_block_bits(words: npt.NDArray, shape: tuple[int, int, int, int], groups: int = 1) -> bool:
    """Whether packed blocks are zero beyond a group's channels and beyond its output channels."""
    o, cg, kh, kw = shape
    filters = np.asarray(words).reshape(groups, -1, kh * kw, words_for(cg), BLOCK)
    if not empty_bits(np.moveaxis(filters, 3, -1), cg):
        return False
    used = o // groups % BLOCK
    return used == 0 or not filters[:, -1, :, :, used:].any()
