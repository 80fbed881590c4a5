"""What happens to t: a loop over the steps of a row, with t of the whole tile in registers.

The kinds of steps are known only when the program runs, so a tile holds all of them behind one switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from bitlens.engine.kernels import rows
from bitlens.engine.kernels.terms import Grid
from bitlens.engine.kernels.vector import (
    F32,
    FLOATS,
    I8,
    I16,
    I64,
    LANES,
    WORDS,
    ahead,
    call,
    fma,
    integer,
    load,
    real,
    repeat,
    splat,
    store,
)


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Which part of the output a tile computes, in IR values.

    Attributes:
        y, x: output row and column of each pixel.
        channel: the first output channel.
        vectors: vectors of 16 output channels.
        scratch: address of pixels * vectors * 16 bytes of stack.
    """

    y: list[ir.Value]
    x: list[ir.Value]
    channel: ir.Value
    vectors: int
    scratch: ir.Value


def walk(builder: ir.IRBuilder, steps: ir.Value, count: ir.Value, spot: Spot, t: Grid) -> None:
    """Send a tile's t through all steps.

    Args:
        builder: where to emit.
        steps: address of int64[count][STEP_WIDTH].
        count: number of steps.
        spot: the tile.
        t: its values, float32.
    """
    width = integer(8 * rows.STEP_WIDTH)

    def turn(index: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        step = builder.add(steps, builder.mul(index, width))
        grid = [state[i : i + spot.vectors] for i in range(0, len(state), spot.vectors)]
        return _switch(builder, step, spot, grid)

    repeat(builder, count, [value for row in t for value in row], turn)


def _switch(builder: ir.IRBuilder, step: ir.Value, spot: Spot, t: Grid) -> list[ir.Value]:
    here = builder.block
    after = builder.append_basic_block("after_step")
    chosen = builder.switch(_field(builder, step, rows.KIND), after)
    ends = [(here, t)]
    for kind, emit in _STEPS.items():
        block = builder.append_basic_block(f"step_{kind}")
        chosen.add_case(integer(kind), block)
        builder.position_at_end(block)
        changed = emit(builder, step, spot, t)
        ends.append((builder.block, t if changed is None else changed))
        builder.branch(after)
    builder.position_at_end(after)
    merged = []
    for p, row in enumerate(t):
        for v in range(len(row)):
            phi = builder.phi(FLOATS)
            for block, grid in ends:
                phi.add_incoming(grid[p][v], block)
            merged.append(phi)
    return merged


def _field(builder: ir.IRBuilder, step: ir.Value, field: int) -> ir.Value:
    return load(builder, ahead(builder, step, 8 * field), I64)


def _constants(builder: ir.IRBuilder, step: ir.Value, field: int, spot: Spot) -> list[ir.Value]:
    bytes_ = builder.shl(spot.channel, integer(2))
    address = builder.add(_field(builder, step, field), bytes_)
    return [load(builder, ahead(builder, address, 64 * v), FLOATS) for v in range(spot.vectors)]


def _pair(builder: ir.IRBuilder, step: ir.Value) -> tuple[ir.Value, ir.Value]:
    address = _field(builder, step, rows.A)
    first = load(builder, address, F32)
    second = load(builder, ahead(builder, address, 4), F32)
    return splat(builder, first), splat(builder, second)


def _places(builder: ir.IRBuilder, step: ir.Value, spot: Spot, offset: ir.Value) -> list[ir.Value]:
    start = builder.add(_field(builder, step, rows.PLACE), offset)
    row = _field(builder, step, rows.PLACE_ROW)
    pixel = _field(builder, step, rows.PLACE_PIXEL)
    return [
        builder.add(builder.add(start, builder.mul(y, row)), builder.mul(x, pixel))
        for y, x in zip(spot.y, spot.x, strict=True)
    ]


Emit = Callable[[ir.IRBuilder, ir.Value, Spot, Grid], Grid | None]
"""Emits one kind of step; gives the new t, or None where it stays."""


def _by_channel(combine: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Emit:
    def emit(builder: ir.IRBuilder, step: ir.Value, spot: Spot, t: Grid) -> Grid:
        a = _constants(builder, step, rows.A, spot)
        return [[combine(builder, u, v) for u, v in zip(row, a, strict=True)] for row in t]

    return emit


def _by_value(combine: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Emit:
    def emit(builder: ir.IRBuilder, step: ir.Value, spot: Spot, t: Grid) -> Grid:
        places = _places(builder, step, spot, builder.shl(spot.channel, integer(2)))
        return [
            [
                combine(builder, u, load(builder, ahead(builder, place, 64 * v), FLOATS))
                for v, u in enumerate(row)
            ]
            for place, row in zip(places, t, strict=True)
        ]

    return emit


def _multiply(builder: ir.IRBuilder, u: ir.Value, v: ir.Value) -> ir.Value:
    return builder.fmul(u, v)


def _add(builder: ir.IRBuilder, u: ir.Value, v: ir.Value) -> ir.Value:
    return builder.fadd(u, v)


def _prelu(builder: ir.IRBuilder, u: ir.Value, a: ir.Value) -> ir.Value:
    """The product is the first choice, which makes it one multiplication under a mask."""
    other = builder.fcmp_unordered("<=", u, real(0.0))
    return builder.select(other, builder.fmul(u, a), u)


def _multiply_add(builder: ir.IRBuilder, step: ir.Value, spot: Spot, t: Grid) -> Grid:
    a = _constants(builder, step, rows.A, spot)
    b = _constants(builder, step, rows.B, spot)
    return [[fma(builder, u, v, w) for u, v, w in zip(row, a, b, strict=True)] for row in t]


def _clamp(builder: ir.IRBuilder, step: ir.Value, spot: Spot, t: Grid) -> Grid:
    """Comparisons with NaN are false, so NaN passes both."""
    low, high = _pair(builder, step)

    def clamp(u: ir.Value) -> ir.Value:
        raised = builder.select(builder.fcmp_ordered("<", u, low), low, u)
        return builder.select(builder.fcmp_ordered(">", raised, high), high, raised)

    return [[clamp(u) for u in row] for row in t]


def _whole(builder: ir.IRBuilder, step: ir.Value, spot: Spot) -> tuple[ir.Value, ir.Value]:
    """The channels that may be written from the tile's first on, and whether that is all of them."""
    room = builder.sub(_field(builder, step, rows.LIMIT), spot.channel)
    return room, builder.icmp_signed(">=", room, integer(LANES * spot.vectors))


def _store(builder: ir.IRBuilder, step: ir.Value, spot: Spot, t: Grid) -> None:
    places = _places(builder, step, spot, builder.shl(spot.channel, integer(2)))
    room, whole = _whole(builder, step, spot)

    def write(v: int) -> None:
        for place, row in zip(places, t, strict=True):
            store(builder, row[v], ahead(builder, place, 64 * v))

    with builder.if_else(whole, likely=True) as (full, partial):
        with full:
            for v in range(spot.vectors):
                write(v)
        with partial:
            for v in range(spot.vectors - 1):
                with builder.if_then(builder.icmp_signed(">", room, integer(LANES * v))):
                    write(v)


def _sign(builder: ir.IRBuilder, step: ir.Value, spot: Spot, t: Grid) -> None:
    """All bits of a pixel in one integer: one store, and no arithmetic on mask registers."""
    eighth = builder.lshr(spot.channel, integer(3))
    a = _constants(builder, step, rows.A, spot)
    kind = ir.IntType(LANES * spot.vectors)
    flip = load(builder, builder.add(_field(builder, step, rows.B), eighth), kind, align=2)
    for place, row in zip(_places(builder, step, spot, eighth), t, strict=True):
        bits = integer(0, kind)
        for v, u in enumerate(row):
            lane = builder.bitcast(builder.fcmp_ordered(">=", u, a[v]), I16)
            wide = lane if spot.vectors == 1 else builder.zext(lane, kind)
            bits = builder.or_(bits, builder.shl(wide, integer(LANES * v, kind)))
        store(builder, builder.xor(bits, flip), place, align=2)


def _quantize(builder: ir.IRBuilder, step: ir.Value, spot: Spot, t: Grid) -> None:
    scale, zero = _pair(builder, step)
    narrow = ir.VectorType(I8, LANES)

    def byte(u: ir.Value) -> ir.Value:
        steps = call(builder, "llvm.rint.v16f32", FLOATS, builder.fmul(u, scale))
        level = builder.fadd(steps, zero)
        raised = builder.select(builder.fcmp_ordered(">", level, real(0.0)), level, real(0.0))
        kept = builder.select(builder.fcmp_ordered("<", raised, real(255.0)), raised, real(255.0))
        return builder.trunc(builder.fptosi(kept, WORDS), narrow)

    bytes_ = [[byte(u) for u in row] for row in t]
    places = _places(builder, step, spot, spot.channel)
    room, whole = _whole(builder, step, spot)
    with builder.if_else(whole, likely=True) as (full, partial):
        with full:
            for place, row in zip(places, bytes_, strict=True):
                for v, value in enumerate(row):
                    store(builder, value, ahead(builder, place, LANES * v))
        with partial:
            for p, (place, row) in enumerate(zip(places, bytes_, strict=True)):
                _copy_bytes(builder, row, ahead(builder, spot.scratch, 16 * p), place, room)


def _copy_bytes(
    builder: ir.IRBuilder,
    values: list[ir.Value],
    scratch: ir.Value,
    place: ir.Value,
    count: ir.Value,
) -> None:
    """The first `count` bytes of some vectors, none where `count` is negative."""
    for v, value in enumerate(values):
        store(builder, value, ahead(builder, scratch, LANES * v))

    def turn(index: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        byte = load(builder, builder.add(scratch, index), I8)
        store(builder, byte, builder.add(place, index))
        return state

    repeat(builder, count, [], turn)


_STEPS: dict[int, Emit] = {
    rows.STEP_MULTIPLY: _by_channel(_multiply),
    rows.STEP_ADD: _by_channel(_add),
    rows.STEP_FMA: _multiply_add,
    rows.STEP_ADD_VALUE: _by_value(_add),
    rows.STEP_MULTIPLY_VALUE: _by_value(_multiply),
    rows.STEP_PRELU: _by_channel(_prelu),
    rows.STEP_CLAMP: _clamp,
    rows.STEP_STORE: _store,
    rows.STEP_SIGN: _sign,
    rows.STEP_QUANTIZE: _quantize,
}
