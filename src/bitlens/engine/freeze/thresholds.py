"""A sign behind per-channel arithmetic becomes a comparison with a threshold in front of it.

Nothing is rearranged algebraically. In front of a binary convolution's arithmetic stand integers or halves,
few enough that the float32 chain is evaluated for each one and read off. Elsewhere a chain of increasing and
decreasing functions is monotone even after rounding, so the one number where the sign turns is found by
bisection over all float32 numbers. Chains that turn more than once keep their arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bitlens.engine.freeze.flow import Array, Op, ancestors_first, users_of
from bitlens.engine.reference.operations import fused_multiply_add

PER_CHANNEL: frozenset[str] = frozenset(("multiply", "add", "multiply_add", "prelu", "clamp"))
"""Steps whose result depends on the running number and its channel alone."""

CHUNK = 64
"""Channels evaluated at a time."""


class Threshold(NamedTuple):
    """The bit (t >= at[c]) xor turned[c]; -inf and +inf are constant bits."""

    at: Array
    turned: Array


def fold_thresholds(roots: list[Op]) -> dict[Op, tuple[Op, ...]]:
    """Move every sign as far forward as only signs need what lies between; changes the ops in place.

    Returns:
        For every sign, the steps that its threshold now stands for, in order.
    """
    order = ancestors_first(roots)
    users = users_of(order)
    only_signs: dict[Op, bool] = {}
    for op in reversed(order):
        passes = op.kind in PER_CHANNEL and not op.open and op not in roots
        only_signs[op] = op.kind == "sign" or (passes and all(only_signs[u] for u in users[op]))
    return {op: _fold(op, only_signs) for op in order if op.kind == "sign"}


def _fold(sign: Op, only_signs: dict[Op, bool]) -> tuple[Op, ...]:
    chain: list[Op] = []
    source = sign.inputs[0]
    while source.kind in PER_CHANNEL and only_signs[source]:
        chain.insert(0, source)
        source = source.inputs[0]
    found = integer_threshold(chain, source) if source.kind == "binary_conv" else None
    while found is None and chain:
        found = float_threshold(chain, source.channels)
        if found is None:
            source = chain.pop(0)
    if found is None:
        found = Threshold(np.zeros(source.channels, np.float32), np.zeros(source.channels, bool))
    sign.inputs = (source,)
    sign.a = found.at
    sign.b = found.turned.astype(np.uint8) if found.turned.any() else None
    return tuple(chain)


def evaluate(chain: Sequence[Op], t: Array, channels: slice = slice(None)) -> Array:
    """The chain's float32 result for t (..., c), c the channels of `channels`."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for op in chain:
            a: Any = None if op.a is None else op.a[channels]
            b: Any = None if op.b is None else op.b[channels]
            match op.kind:
                case "multiply":
                    t = t * a
                case "add":
                    t = t + a
                case "multiply_add":
                    t = fused_multiply_add(t, a, b)
                case "prelu":
                    t = np.where(t > 0, t, t * a)
                case "clamp":
                    t = np.minimum(np.maximum(t, np.float32(op.low)), np.float32(op.high))
                case _:
                    raise ValueError(f"{op.kind} is no per-channel step")
    return t


def reachable_sums(conv: Op) -> Array:
    """Every number that a binary convolution can make, float32, ascending.

    Without positions that count nothing all sums of signs have the parity of the number of weights. Levels
    0 and 1 make every integer, and halves too where a padded position counts 1/2.
    """
    assert conv.weights is not None
    terms = int(np.prod(conv.weights.shape[1:]))
    between = conv.pad == 0 and any(conv.window.pads)
    if conv.unit and between:
        return np.arange(-2 * terms, 2 * terms + 1, dtype=np.float32) / 2
    return np.arange(-terms, terms + 1, 1 if conv.unit or between else 2, dtype=np.float32)


def integer_threshold(chain: Sequence[Op], conv: Op) -> Threshold | None:
    """The threshold on the sums of `conv` that answers as the sign behind `chain` does.

    None where some channel turns more than once.
    """
    sums = reachable_sums(conv)
    at = np.empty(conv.channels, np.float32)
    turned = np.empty(conv.channels, bool)
    for start in range(0, conv.channels, CHUNK):
        part = slice(start, min(start + CHUNK, conv.channels))
        width = part.stop - part.start
        bits = evaluate(chain, np.repeat(sums[:, None], width, 1), part) >= 0
        if (np.diff(bits, axis=0).sum(axis=0) > 1).any():
            return None
        rising = bits[-1]
        first = np.where(rising, bits.argmax(axis=0), (~bits).argmax(axis=0))
        constant = bits[0] == bits[-1]
        at[part] = np.where(constant, np.where(rising, -np.inf, np.inf), sums[first])
        turned[part] = ~rising & ~constant
    return Threshold(at, turned)


def float_threshold(chain: Sequence[Op], channels: int) -> Threshold | None:
    """The threshold on any float32 that answers as the sign behind a monotone `chain` does.

    None where the chain may not be monotone, or overflows to NaN.
    """
    rising = np.ones(channels, bool)
    for op in chain:
        falling = np.zeros(channels, bool) if op.a is None else op.a < 0
        if op.kind == "prelu" and falling.any():
            return None
        if op.kind in ("multiply", "multiply_add"):
            rising ^= falling
    largest = float(np.finfo(np.float32).max)
    low, high = np.full(channels, _key(-largest)), np.full(channels, _key(largest))
    ends = evaluate(chain, np.stack([_number(low), _number(high)]))
    if np.isnan(ends).any():
        return None

    def beyond(keys: Array) -> Array:
        # Whether the sign has turned already on the way from the smallest number to the largest.
        return (evaluate(chain, _number(keys)) >= 0) == rising

    always, never = beyond(low), ~beyond(high)
    while (high - low > 1).any():
        middle = (low + high) // 2
        past = beyond(middle)
        low, high = np.where(past, low, middle), np.where(past, middle, high)
    at = np.where(always, -np.inf, np.where(never, np.inf, _number(high))).astype(np.float32)
    turned = ~rising
    # One form for a constant bit, so that a sum beyond every finite number cannot turn it.
    bit = np.where(always, rising, ~rising)
    at = np.where(always | never, np.where(bit, -np.inf, np.inf), at).astype(np.float32)
    return Threshold(at, turned & ~(always | never))


def _key(number: float) -> np.int64:
    bits = np.int64(np.float32(number).view(np.int32))
    return bits if bits >= 0 else np.int64(-(2**31)) - bits


def _number(keys: Array) -> Array:
    """The float32 at a place of their order: ..., -1e-45, -0, 1e-45, ... at -1, 0, 1."""
    bits = np.where(keys >= 0, keys, np.int64(-(2**31)) - keys)
    return bits.astype(np.int32).view(np.float32)
