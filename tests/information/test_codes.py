"""Activations to hashes to codes: packing, hashing, streaming, and what is refused."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.information.codes import (
    _SECOND_STREAM,
    CodeAccumulator,
    Codes,
    _hash_tensor,
    hash_rows,
    hash_signs,
    pack_rows,
)

seeds = st.integers(0, 2**32 - 1)


def finalise(rows: list[list[int]], start: int = 0) -> list[int]:
    """The hash in Python integers: add the place, then xor-shift and multiply, twice."""
    mask, made = (1 << 64) - 1, []
    for row in rows:
        state = start
        for place, word in enumerate(row):
            state = (state ^ word) + 0x9E3779B97F4A7C15 * (2 * place + 1) & mask
            state = (state ^ state >> 32) * 0xBEA225F9EB34556D & mask
            state = (state ^ state >> 29) * 0x9FB21C651E98DF25 & mask
            state ^= state >> 32
        made.append(state)
    return made


@pytest.mark.parametrize("units", [1, 7, 8, 63, 64, 65, 130])
def test_words_hold_the_bits_in_order(units: int) -> None:
    bits = np.random.default_rng(units).random((5, units)) < 0.5
    words = pack_rows(bits)
    assert words.shape == (5, math.ceil(units / 64))
    assert words.dtype == np.uint64
    for row, packed in zip(bits, words, strict=True):
        number = sum(int(bit) << place for place, bit in enumerate(row))
        assert [number >> 64 * k & (1 << 64) - 1 for k in range(words.shape[1])] == packed.tolist()


def test_any_integers_pack_by_being_zero_or_not() -> None:
    bits = np.random.default_rng(0).random((4, 70)) < 0.5
    assert np.array_equal(pack_rows(bits.astype(np.uint8)), pack_rows(bits))
    assert np.array_equal(pack_rows(5 * bits.astype(np.int64)), pack_rows(bits))


def test_rows_may_lie_in_memory_in_any_order() -> None:
    bits = np.random.default_rng(0).random((6, 70)) < 0.5
    expected = pack_rows(bits)
    assert np.array_equal(pack_rows(np.asfortranarray(bits)), expected)
    assert np.array_equal(pack_rows(bits[::-1])[::-1], expected)
    signs = torch.where(torch.from_numpy(bits), 1.0, -1.0)
    assert np.array_equal(hash_signs(signs.t().contiguous().t()), hash_rows(expected))


@given(
    rows=st.lists(
        st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3), min_size=1, max_size=5
    )
)
def test_hashes_follow_their_definition(rows: list[list[int]]) -> None:
    words = np.array(rows, dtype=np.uint64)
    assert hash_rows(words).tolist() == finalise(rows)
    assert hash_rows(words, 128).T.tolist() == [finalise(rows), finalise(rows, _SECOND_STREAM)]


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_a_tensor_hashes_where_it_lies_as_its_packed_rows_do(seed: int) -> None:
    draw = np.random.default_rng(seed)
    bits = draw.random((int(draw.integers(1, 20)), int(draw.integers(1, 200)))) < 0.5
    for start in (0, _SECOND_STREAM):
        made = _hash_tensor(torch.from_numpy(bits), start).numpy().view(np.uint64)
        assert made.tolist() == finalise(pack_rows(bits).tolist(), start)


def test_hashes_tell_words_and_their_places_apart() -> None:
    one, other = 3, 5
    rows = np.array([[one, other], [other, one], [one, one], [0, 0]], dtype=np.uint64)
    assert len(set(hash_rows(rows).tolist())) == 4
    # Rows of every width that are all zero, as constant layers are.
    assert len({int(hash_rows(np.zeros((1, width), np.uint64))[0]) for width in range(1, 9)}) == 8


def test_flipping_one_unit_changes_half_of_the_hash() -> None:
    base = np.random.default_rng(1).random((1, 256)) < 0.5
    flipped = base ^ np.eye(256, dtype=bool)
    changed = hash_rows(pack_rows(base)) ^ hash_rows(pack_rows(flipped))
    ones = [int(value).bit_count() for value in changed]
    assert np.mean(ones) == pytest.approx(32, abs=1)
    assert min(ones) > 10


def test_all_words_of_sixteen_bits_hash_apart() -> None:
    words = np.arange(1 << 16, dtype=np.uint64)[:, None]
    assert len(np.unique(hash_rows(words))) == 1 << 16


@pytest.mark.parametrize(
    "kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8]
)
def test_signs_of_any_type_read_zero_as_plus(kind: torch.dtype) -> None:
    values = torch.tensor([[-2, 0, 3], [1, -1, -1]], dtype=kind)
    expected = hash_rows(pack_rows(np.array([[0, 1, 1], [1, 0, 0]])))
    assert np.array_equal(hash_signs(values), expected)
    assert np.array_equal(hash_signs(values.view(2, 3, 1, 1)), expected)


def test_minus_zero_and_infinities_have_signs() -> None:
    values = torch.tensor([[-0.0, -math.inf, math.inf]])
    assert np.array_equal(hash_signs(values), hash_rows(pack_rows(np.array([[1, 0, 1]]))))


def test_more_rows_than_a_block_hash_alike() -> None:
    values = torch.randn(5000, 40, generator=torch.Generator().manual_seed(0))
    parts = [hash_signs(part, 128) for part in values.split(700)]
    assert np.array_equal(hash_signs(values, 128), np.concatenate(parts))


def test_no_gradient_is_needed() -> None:
    values = torch.randn(3, 4, requires_grad=True)
    assert hash_signs(values).shape == (3,)


def test_codes_know_their_support_and_names() -> None:
    codes = Codes(np.array([9, 4, 9, 7], dtype=np.uint64), 3)
    assert (len(codes), codes.support) == (4, 8)
    assert codes.ids().tolist() == [2, 0, 2, 1]
    wide = np.array([[1, 2], [1, 1], [1, 2], [0, 5]], dtype=np.uint64)
    assert Codes(wide, 2, levels=30).ids().tolist() == [2, 1, 2, 0]
    assert Codes(wide, 2, levels=30).support == 900
    assert Codes(wide, 1024).support == math.inf
    assert Codes(wide, 1023).support == 2.0**1023


def test_a_state_travels() -> None:
    accumulator = CodeAccumulator(bits=128)
    accumulator.update(torch.randn(5, 3), torch.tensor([4, 3, 2, 1, 0]))
    moved = CodeAccumulator.from_state(pickle.loads(pickle.dumps(accumulator.state())))
    assert np.array_equal(moved.result().hashes, accumulator.result().hashes)
    assert moved.result().units == 3


def test_an_empty_state_travels() -> None:
    moved = CodeAccumulator.from_state(CodeAccumulator(levels=3).state())
    assert (moved.units, moved.levels) == (None, 3)
    moved.merge(CodeAccumulator(levels=3))
    with pytest.raises(BitlensError, match="no activations were added"):
        moved.result()


def test_merging_keeps_counting_places() -> None:
    signs = torch.tensor([[1.0], [-1.0], [1.0]])
    one, other = CodeAccumulator(), CodeAccumulator()
    one.update(signs[:1])
    other.update(signs[1:2], torch.tensor([1]))
    one.merge(other)
    one.update(signs[2:])
    assert np.array_equal(one.result().hashes, hash_signs(signs))


def test_a_padded_place_counts_once() -> None:
    signs = torch.tensor([[1.0], [-1.0]])
    accumulator = CodeAccumulator()
    accumulator.update(signs, torch.tensor([0, 1]))
    accumulator.update(signs[:1], torch.tensor([0]))
    assert len(accumulator.result()) == 2


def test_the_last_batch_may_be_empty() -> None:
    accumulator = CodeAccumulator()
    accumulator.update(torch.ones(2, 3))
    accumulator.update(torch.ones(0, 3))
    assert len(accumulator.result()) == 2


def test_activations_that_make_no_code_are_refused() -> None:
    with pytest.raises(BitlensError, match=r"NaN \(first in row 1"):
        hash_signs(torch.tensor([[1.0, 2.0], [0.0, math.nan]]))
    with pytest.raises(BitlensError, match=r"shape \(3,\): a row per sample"):
        hash_signs(torch.ones(3))
    with pytest.raises(BitlensError, match="hash_signs: bits=32"):
        hash_signs(torch.ones(3, 2), bits=32)
    with pytest.raises(BitlensError, match="hash_rows: bits=65"):
        hash_rows(np.ones((1, 1), np.uint64), bits=65)
    with pytest.raises(BitlensError, match="CodeAccumulator: bits=32"):
        CodeAccumulator(bits=32)


def test_batches_that_do_not_fit_are_refused() -> None:
    accumulator = CodeAccumulator()
    accumulator.update(torch.ones(2, 3))
    with pytest.raises(BitlensError, match="3 units now gives 4"):
        accumulator.update(torch.ones(2, 4))
    with pytest.raises(BitlensError, match=r"places has shape \(1,\), the batch 2 samples"):
        accumulator.update(torch.ones(2, 3), torch.tensor([5]))


@pytest.mark.parametrize("other", [CodeAccumulator(bits=128), CodeAccumulator(levels=4)])
def test_codes_of_another_kind_do_not_merge(other: CodeAccumulator) -> None:
    with pytest.raises(BitlensError, match="cannot merge"):
        CodeAccumulator().merge(other)


def test_layers_of_another_width_do_not_merge() -> None:
    one, other = CodeAccumulator(), CodeAccumulator()
    one.update(torch.ones(2, 3))
    other.update(torch.ones(2, 4))
    with pytest.raises(BitlensError, match=r"codes of 4 units .* into 3 units"):
        one.merge(other)


def test_places_must_agree_and_be_complete() -> None:
    signs = torch.tensor([[1.0], [-1.0]])
    twice = CodeAccumulator()
    twice.update(signs, torch.tensor([0, 0]))
    with pytest.raises(BitlensError, match="sample 0 was given two different codes"):
        twice.result()
    missing = CodeAccumulator()
    missing.update(signs, torch.tensor([0, 2]))
    with pytest.raises(BitlensError, match="sample 1 is missing"):
        missing.result()
