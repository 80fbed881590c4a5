"""What this CPU can do at most: the arithmetic of the tiles on registers alone, nothing loaded or stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import types

from bitlens.engine.kernels.address import intrinsic
from bitlens.engine.kernels.dots import DOTS
from bitlens.engine.kernels.isa import host
from bitlens.engine.kernels.vector import BYTES, FLOATS, I64, WORDS, call, integer, real, repeat

POPCOUNT, INT8, FLOAT32 = 0, 1, 2
MACS = (512, 64, 16)
"""Multiply-adds of one vector of 16 words, by kind."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Most multiply-adds of one thread, in 10^9 a second.

    Attributes:
        popcount: 1-bit products, by xor, popcount and addition.
        int8: products of bytes, by `Isa.dot`.
        float32: by fused multiply-add.
    """

    popcount: float
    int8: float
    float32: float


def measure_peak(seconds: float = 0.3) -> Peak:
    """The peak of this CPU, now: the best of many short slices, a third of the time for each kind."""
    best = [_fastest(kind, seconds / 3) for kind in (POPCOUNT, INT8, FLOAT32)]
    return Peak(popcount=best[0], int8=best[1], float32=best[2])


def _fastest(kind: int, seconds: float) -> float:
    turns, share = 1 << 14, MACS[kind] * CHAINS
    loop: Callable[[int], None] = _LOOPS[kind]
    loop(1)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        loop(turns)
        best = max(best, turns * share / (time.perf_counter() - begin) / 1e9)
    return best


CHAINS = 16 if host().wide else 4
"""Sums that do not wait for each other: as many as registers hold, more than an addition's latency."""


def _popcount(builder: ir.IRBuilder, sums: list[ir.Value]) -> list[ir.Value]:
    name, kind = ("llvm.ctpop.v16i32", WORDS) if host().wide else ("llvm.ctpop.v64i8", BYTES)
    made = []
    for sum_ in sums:
        differ = builder.bitcast(builder.xor(sum_, integer(0x12345678, WORDS)), kind)
        counted = builder.add(builder.bitcast(sum_, kind), call(builder, name, kind, differ))
        made.append(builder.bitcast(counted, WORDS))
    return made


def _int8(builder: ir.IRBuilder, sums: list[ir.Value]) -> list[ir.Value]:
    multiply = DOTS[host().dot](builder, [integer(0x12345678, WORDS)])
    return [multiply(sum_, [sum_])[0] for sum_ in sums]


def _float32(builder: ir.IRBuilder, sums: list[ir.Value]) -> list[ir.Value]:
    made = []
    for sum_ in sums:
        t = builder.bitcast(sum_, FLOATS)
        t = call(builder, "llvm.fmuladd.v16f32", FLOATS, t, real(0.5), real(1.5))
        made.append(builder.bitcast(t, WORDS))
    return made


_TURNS = (_popcount, _int8, _float32)


@intrinsic(prefer_literal=True)
def _spin(typing_context: Any, kind: Any, turns: Any) -> Any:
    """`turns` times one operation on every chain."""
    if not isinstance(kind, types.IntegerLiteral):
        return None
    turn = _TURNS[kind.literal_value]

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        start = [integer(chain, WORDS) for chain in range(CHAINS)]
        sums = repeat(builder, arguments[1], start, lambda _, state: turn(builder, state))
        total = sums[0]
        for sum_ in sums[1:]:
            total = builder.xor(total, sum_)
        words = builder.bitcast(total, ir.VectorType(I64, 8))
        return builder.extract_element(words, integer(0))

    return types.int64(kind, types.int64), emit


@njit(nogil=True)
def _popcount_loop(turns):
    return _spin(POPCOUNT, turns)


@njit(nogil=True)
def _int8_loop(turns):
    return _spin(INT8, turns)


@njit(nogil=True)
def _float32_loop(turns):
    return _spin(FLOAT32, turns)


_LOOPS = (_popcount_loop, _int8_loop, _float32_loop)
