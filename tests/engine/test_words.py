"""Packing against a bit-by-bit reading of the layout."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.engine import words

shapes = st.tuples(
    st.integers(1, 3),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 3),
    st.integers(1, 3),
)


def draw_signs(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), shape)


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(0, 99))
def test_blocks_bit_by_bit(shape: tuple[int, int, int, int, int], seed: int) -> None:
    groups, og, cg, kh, kw = shape
    signs = draw_signs(seed, groups * og, cg, kh, kw)
    packed = words.pack_blocks(signs, groups)
    per_group, per_pixel = -(-og // 64), -(-cg // 32)
    assert packed.dtype == np.uint32
    assert packed.shape == (groups * per_group, kh * kw * per_pixel, 64)
    assert packed.shape == words.block_shape(signs.shape, groups)
    draw = np.random.default_rng(seed)
    for _ in range(40):
        g, j, c = (
            draw.integers(groups),
            draw.integers(64 * per_group),
            draw.integers(32 * per_pixel),
        )
        row, column = draw.integers(kh), draw.integers(kw)
        word = packed[g * per_group + j // 64, (row * kw + column) * per_pixel + c // 32, j % 64]
        bit = int(word) >> (int(c) % 32) & 1
        there = j < og and c < cg
        assert bit == (there and signs[g * og + j, c, row, column] > 0)


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(0, 99))
def test_there_and_back(shape: tuple[int, int, int, int, int], seed: int) -> None:
    groups, og, cg, kh, kw = shape
    signs = draw_signs(seed, groups * og, cg, kh, kw)
    blocks, rows = words.pack_blocks(signs, groups), words.pack_rows(signs)
    np.testing.assert_array_equal(words.unpack_blocks(blocks, signs.shape, groups), signs)
    assert rows.shape == (groups * og, kh, kw, -(-cg // 32))
    np.testing.assert_array_equal(words.unpack_rows(rows, cg), signs)
    codes = signs.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(words.unpack_channels(words.pack_channels(codes), cg), codes)
    assert words.empty_block_bits(blocks, signs.shape, groups)
    assert words.empty_bits(rows, cg)


def test_one_word_by_hand() -> None:
    signs = np.full((1, 34), -1)
    signs[0, [0, 5, 33]] = 1
    np.testing.assert_array_equal(words.pack_channels(signs), [[0b100001, 0b10]])


@pytest.mark.parametrize("place", [(0, 0, 0, 3), (0, 2, 1, 40)])
def test_bits_beyond_the_channels_are_seen(place: tuple[int, int, int, int]) -> None:
    shape = (70, 35, 1, 3)
    blocks = words.pack_blocks(draw_signs(0, *shape))
    assert words.empty_block_bits(blocks, shape)
    beyond = blocks.copy()
    beyond[0, 1, 5] |= np.uint32(1 << 3)
    assert not words.empty_block_bits(beyond, shape)
    beyond = blocks.copy()
    beyond[1, 0, 6] |= np.uint32(1)
    assert not words.empty_block_bits(beyond, shape)
    rows = words.pack_rows(draw_signs(0, *shape))
    rows[1, 0, 0, 1] |= np.uint32(1 << 31)
    assert not words.empty_bits(rows, 35)


def test_only_signs_are_packed() -> None:
    with pytest.raises(ValueError, match="only signs"):
        words.pack_channels(np.array([1, 0, -1]))
