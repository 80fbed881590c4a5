"""One tile: some pixels by some vectors of output channels, from terms to written values.

A tile is LLVM vector IR. There is no loop over channels for a vectoriser to find: what the registers
hold is decided here.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from bitlens.engine.kernels import rows
from bitlens.engine.kernels.isa import Isa
from bitlens.engine.kernels.steps import Spot, walk
from bitlens.engine.kernels.terms import Grid, Source, accumulate
from bitlens.engine.kernels.vector import (
    FLOATS,
    I64,
    LANES,
    WORDS,
    ahead,
    integer,
    load,
)


def emit_tile(
    builder: ir.IRBuilder,
    isa: Isa,
    opcode: int,
    pixels: int,
    vectors: int,
    row: ir.Value,
    inputs: ir.Value,
    weights: ir.Value,
    channel: ir.Value,
    y: ir.Value,
    x: ir.Value,
) -> list[ir.Value]:
    """Emit a tile of `pixels` consecutive output pixels by `vectors` * 16 output channels.

    Args:
        builder: where to emit.
        isa: what the target offers.
        opcode: one of `rows.TILED_OPCODES`.
        pixels: output pixels; after the last one of an output row comes the first of the next.
        vectors: vectors of 16 output channels.
        row: address of the program's row.
        inputs: `rows.INPUT`, moved on to the group.
        weights: address of the first term's weights of `channel`; not used by MAXIMUM and SUM.
        channel: first output channel.
        y: output row of the first pixel.
        x: output column of the first pixel.

    Returns:
        Row and column of the pixel after the last.
    """

    def field(number: int) -> ir.Value:
        return load(builder, ahead(builder, row, 8 * number), I64)

    if opcode in (rows.MAXIMUM, rows.SUM):
        inputs = builder.add(inputs, builder.shl(channel, integer(2)))
    (*ys, next_y), (*xs, next_x) = _pixels(builder, pixels + 1, field(rows.OUT_WIDTH), y, x)
    input_row, input_pixel = field(rows.INPUT_ROW), field(rows.INPUT_PIXEL)
    windows = [
        builder.add(builder.add(inputs, builder.mul(v, input_row)), builder.mul(u, input_pixel))
        for v, u in zip(ys, xs, strict=True)
    ]
    scratch = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), 16 * pixels * vectors))
    spot = Spot(
        y=ys,
        x=xs,
        channel=channel,
        vectors=vectors,
        scratch=builder.ptrtoint(scratch, I64),
    )
    source = Source(
        terms=field(rows.TERMS),
        offsets=field(rows.OFFSETS),
        inputs=windows,
        weights=weights,
        vectors=vectors,
        loose=field(rows.LOOSE) if opcode == rows.DOT else None,
        start=_class_rows(builder, row, spot, WORDS) if opcode == rows.POPCOUNT else None,
    )
    sums = accumulate(builder, isa, opcode, source)
    t = _begin(builder, opcode, row, spot, sums)
    walk(builder, field(rows.STEPS), field(rows.STEP_COUNT), spot, t)
    return [next_y, next_x]


def _pixels(
    builder: ir.IRBuilder, count: int, width: ir.Value, y: ir.Value, x: ir.Value
) -> tuple[list[ir.Value], list[ir.Value]]:
    ys, xs = [y], [x]
    for _ in range(count - 1):
        beside = builder.add(xs[-1], integer(1))
        over = builder.icmp_signed(">=", beside, width)
        ys.append(builder.select(over, builder.add(ys[-1], integer(1)), ys[-1]))
        xs.append(builder.select(over, integer(0), beside))
    return ys, xs


def _begin(builder: ir.IRBuilder, opcode: int, row: ir.Value, spot: Spot, sums: Grid) -> Grid:
    """t from the accumulators, by gain and by the offsets of each pixel's class."""
    if opcode in (rows.MULTIPLY, rows.SIGNED, rows.MAXIMUM):
        return sums
    if opcode == rows.POPCOUNT:
        gains = _gains(builder, row, spot)
        return [
            [
                builder.fmul(builder.sitofp(s, FLOATS), g)
                for s, g in zip(of_pixel, gains, strict=True)
            ]
            for of_pixel in sums
        ]
    offsets = _class_rows(builder, row, spot, FLOATS)
    if opcode == rows.SUM:
        return [
            [builder.fdiv(s, o) for s, o in zip(of_pixel, own, strict=True)]
            for of_pixel, own in zip(sums, offsets, strict=True)
        ]
    gains = _gains(builder, row, spot)
    return [
        [
            builder.fadd(builder.fmul(builder.sitofp(s, FLOATS), g), o)
            for s, g, o in zip(of_pixel, gains, own, strict=True)
        ]
        for of_pixel, own in zip(sums, offsets, strict=True)
    ]


def _gains(builder: ir.IRBuilder, row: ir.Value, spot: Spot) -> list[ir.Value]:
    address = load(builder, ahead(builder, row, 8 * rows.GAIN), I64)
    return _constants(builder, address, spot, FLOATS)


def _class_rows(builder: ir.IRBuilder, row: ir.Value, spot: Spot, kind: ir.Type) -> Grid:
    def table(number: int, index: ir.Value) -> ir.Value:
        start = load(builder, ahead(builder, row, 8 * number), I64)
        return load(builder, builder.add(start, builder.shl(index, integer(3))), I64)

    start = load(builder, ahead(builder, row, 8 * rows.OFFSET), I64)
    found = []
    for y, x in zip(spot.y, spot.x, strict=True):
        step = builder.add(table(rows.CLASS_ROW, y), table(rows.CLASS_COLUMN, x))
        found.append(_constants(builder, builder.add(start, step), spot, kind))
    return found


def _constants(builder: ir.IRBuilder, start: ir.Value, spot: Spot, kind: ir.Type) -> list[ir.Value]:
    address = builder.add(start, builder.shl(spot.channel, integer(2)))
    step = 4 * LANES
    return [load(builder, ahead(builder, address, step * v), kind) for v in range(spot.vectors)]
