"""Signs folded into thresholds, against torch run over every number that can arise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.engine.freeze.flow import Op
from bitlens.engine.freeze.thresholds import (
    Threshold,
    float_threshold,
    fold_thresholds,
    integer_threshold,
    reachable_sums,
)
from bitlens.engine.graph import Window

CHANNELS = 5
Chain = list[Op]


def step(kind: Any, **fields: Any) -> Op:
    return Op(kind=kind, shape=(1, 1, CHANNELS), name=kind, **fields)


def numbers(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def conv(
    cg: int = 3, *, kernel: int = 1, padded: bool = False, pad: Any = 0, unit: bool = False
) -> Op:
    border = kernel // 2 if padded else 0
    weights = np.ones((CHANNELS, cg, kernel, kernel), np.int8)
    window = Window(kernel=(kernel, kernel), pads=(border,) * 4)
    shape = (1, 1, CHANNELS)
    return Op(
        kind="binary_conv",
        shape=shape,
        name="c",
        weights=weights,
        window=window,
        pad=pad,
        unit=unit,
    )


def in_torch(chain: Chain, t: torch.Tensor) -> torch.Tensor:
    """The chain by torch's own operators; multiply_add as an evaluated batch norm."""
    for op in chain:
        a = None if op.a is None else torch.from_numpy(op.a)
        if op.kind == "multiply":
            t = t * a
        elif op.kind == "add":
            t = t + a
        elif op.kind == "multiply_add":
            zeros, ones = torch.zeros(CHANNELS), torch.ones(CHANNELS)
            t = F.batch_norm(t, zeros, ones, a, torch.from_numpy(op.b), False, 0.0, 0.0)
        elif op.kind == "prelu":
            t = F.prelu(t, a)
        else:
            t = t.clamp(op.low, op.high)
    return t


def bits(threshold: Threshold, t: torch.Tensor) -> np.ndarray:
    return (t.numpy() >= threshold.at) ^ threshold.turned


per_channel = st.lists(st.floats(-3, 3, width=32), min_size=CHANNELS, max_size=CHANNELS).map(
    lambda v: numbers(*v)
)


@st.composite
def chains(draw: Any, *, monotone: bool) -> Chain:
    made = []
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(("multiply", "add", "multiply_add", "prelu", "clamp")))
        if kind == "clamp":
            low = draw(st.floats(-2, 1, width=32))
            made.append(step("clamp", low=low, high=low + draw(st.floats(0, 3, width=32))))
            continue
        a = draw(per_channel)
        a = np.abs(a) if kind == "prelu" and monotone else a
        made.append(step(kind, a=a, b=draw(per_channel) if kind == "multiply_add" else None))
    return made


@settings(deadline=None, max_examples=150)
@given(chain=chains(monotone=False), terms=st.integers(1, 40), pad=st.sampled_from((0, 1, -1)))
def test_integer_thresholds_answer_as_torch_does_for_every_sum(
    chain: Chain, terms: int, pad: int
) -> None:
    source = conv(terms, pad=pad)
    sums = torch.from_numpy(reachable_sums(source))[:, None].repeat(1, CHANNELS)
    expected = (in_torch(chain, sums) >= 0).numpy()
    found = integer_threshold(chain, source)
    turns = np.diff(expected, axis=0).sum(axis=0)
    if found is None:
        assert turns.max() > 1
    else:
        assert np.array_equal(bits(found, sums), expected)


@settings(deadline=None, max_examples=150)
@given(
    chain=chains(monotone=True),
    samples=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20),
)
def test_float_thresholds_answer_as_torch_does_next_to_the_turn_and_elsewhere(
    chain: Chain, samples: list[float]
) -> None:
    found = float_threshold(chain, CHANNELS)
    if found is None:  # overflow to NaN: infinity times zero
        assert any((op.a == 0).any() for op in chain if op.a is not None)
        return
    spread = np.repeat(numbers(*samples, 0.0, 1e-45, -1e-45)[:, None], CHANNELS, 1)
    near = np.where(np.isfinite(found.at), found.at, 0).astype(np.float32)
    around = [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))]
    t = torch.from_numpy(np.concatenate([spread, np.stack(around)]).astype(np.float32))
    expected = in_torch(chain, t)
    known = ~torch.isnan(expected).numpy()
    assert np.array_equal(bits(found, t)[known], (expected >= 0).numpy()[known])


def test_a_learned_shift_becomes_its_negative() -> None:
    shift = numbers(0.25, -1.5, 0.0, 1e-30, 3.0)
    found = float_threshold([step("add", a=shift)], CHANNELS)
    assert found is not None
    assert np.array_equal(found.at, -shift)
    assert not found.turned.any()


def test_negative_and_zero_scales() -> None:
    """fma(t, a, b) >= 0 by hand: a = 2, -2, 0, 0, -1 and b = 1, 1, 1, -1, 0 over t = -3, -1, 1, 3."""
    chain = [step("multiply_add", a=numbers(2, -2, 0, 0, -1), b=numbers(1, 1, 1, -1, 0))]
    found = integer_threshold(chain, conv(3))
    assert found is not None
    assert found.at.tolist() == [1, 1, -np.inf, np.inf, 1]
    assert found.turned.tolist() == [False, True, False, False, True]
    real = float_threshold(chain, CHANNELS)
    assert real is not None
    assert real.at[0] == -0.5 and not real.turned[0]
    assert real.at[1] == np.nextafter(np.float32(0.5), np.float32(1)) and real.turned[1]
    assert np.array_equal(real.at[2:4], numbers(-np.inf, np.inf)) and not real.turned[2:4].any()


def test_a_chain_that_turns_twice_is_left_alone() -> None:
    fold = [step("prelu", a=numbers(*[-1.0] * 5)), step("add", a=numbers(*[-2.0] * 5))]
    assert integer_threshold(fold, conv(5)) is None  # |t| >= 2
    assert float_threshold(fold, CHANNELS) is None
    always = [*fold[:1], step("add", a=numbers(*[2.0] * 5))]
    found = integer_threshold(always, conv(5))  # |t| >= -2
    assert found is not None and np.all(found.at == -np.inf)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (conv(3), [-3, -1, 1, 3]),
        (conv(1, kernel=3, padded=True), list(range(-9, 10))),
        (conv(1, kernel=3, padded=True, pad=1), list(range(-9, 10, 2))),
        (conv(2, unit=True), [-2, -1, 0, 1, 2]),
        (conv(1, kernel=3, padded=True, unit=True), [n / 2 for n in range(-18, 19)]),
    ],
    ids=["parity", "three levels", "padded with signs", "levels 0 and 1", "a half at the border"],
)
def test_reachable_sums(source: Op, expected: list[int]) -> None:
    assert reachable_sums(source).tolist() == expected


def chain_on(source: Op, *steps: Op) -> Op:
    for op in steps:
        op.inputs = (source, *op.inputs)
        source = op
    return source


def test_signs_move_as_far_as_only_signs_read_what_lies_between() -> None:
    image = step("input")
    first = conv(3)
    first.inputs = (step("sign", inputs=(image,)),)
    scaled = chain_on(first, step("multiply", a=numbers(1, 2, 3, 4, 5)))
    kept = chain_on(scaled, step("add", a=numbers(1, 1, 1, 1, 1)))
    sign = step("sign", inputs=(chain_on(kept, step("add", a=numbers(2, 2, 2, 2, 2))),))
    second = conv(5)
    second.inputs = (sign,)
    answer = step("add_value", inputs=(second, kept))
    fold_thresholds([answer])
    assert sign.inputs == (kept,)  # the answer reads it as a float
    assert np.array_equal(sign.a, numbers(-2, -2, -2, -2, -2))

    only = step("sign", inputs=(chain_on(first, step("multiply", a=numbers(-1, 2, 3, 4, 5))),))
    third = conv(5)
    third.inputs = (only,)
    fold_thresholds([third])
    assert only.inputs == (first,)
    assert only.a.tolist() == [1, 1, 1, 1, 1]
    assert only.b.tolist() == [1, 0, 0, 0, 0]
