"""The accumulators of a tile: for each opcode, the loop over terms that keeps them in registers.

A tile holds `pixels` x `vectors` accumulators of 16 output channels. A turn of the loop loads the
weights of one term once and one input word a pixel, and works on all accumulators.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from bitlens.engine.kernels import rows
from bitlens.engine.kernels.dots import DOTS
from bitlens.engine.kernels.isa import Isa
from bitlens.engine.kernels.vector import (
    BYTES,
    F32,
    FLOATS,
    I8,
    I16,
    I32,
    I64,
    MASK,
    WORDS,
    ahead,
    call,
    integer,
    load,
    real,
    repeat,
    splat,
)

Grid = list[list[ir.Value]]
"""Values of a tile: [pixel][vector]."""

BYTE_TERMS = 31
"""Terms whose set bits, eight at most in a byte, still fit a byte."""

TERM_BYTES = {rows.POPCOUNT: 256, rows.DOT: 256, rows.MULTIPLY: 256, rows.SIGNED: 8}
"""Bytes of one term's weights for the 64 output channels of a block."""

VECTOR_BYTES = {rows.POPCOUNT: 64, rows.DOT: 64, rows.MULTIPLY: 64, rows.SIGNED: 2}
"""Bytes of one term's weights for 16 output channels."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a tile's terms lie, in IR values.

    Attributes:
        terms: how many there are.
        offsets: address of int64[terms].
        inputs: address of each pixel's window.
        weights: address of the first term's weights of the tile's first channel.
        vectors: vectors of 16 output channels.
        loose: how many terms of single bytes follow, for DOT.
        start: what POPCOUNT counts down from; not used by the others.
    """

    terms: ir.Value
    offsets: ir.Value
    inputs: list[ir.Value]
    weights: ir.Value
    vectors: int
    loose: ir.Value | None = None
    start: Grid | None = None


def accumulate(builder: ir.IRBuilder, isa: Isa, opcode: int, source: Source) -> Grid:
    """All terms: int32 vectors for POPCOUNT and DOT, float32 for the others."""
    if opcode == rows.POPCOUNT and not isa.wide:
        return _popcount_bytes(builder, source)
    if opcode == rows.MAXIMUM:
        return _maximum_of_numbers(builder, isa, source)
    sums = _accumulate(builder, isa, opcode, source)
    return _dot_loose(builder, isa, source, sums) if opcode == rows.DOT else sums


def _accumulate(builder: ir.IRBuilder, isa: Isa, opcode: int, source: Source) -> Grid:
    pixels, vectors = len(source.inputs), source.vectors
    if source.start is None:
        start = [_START[opcode]] * (pixels * vectors)
    else:
        start = [value for row in source.start for value in row]

    def turn(term: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        grid = _grid(state, vectors)
        grid = _TERM[opcode](builder, isa, source, term, grid)
        return [value for row in grid for value in row]

    return _grid(repeat(builder, source.terms, start, turn), vectors)


def _grid(values: list[ir.Value], vectors: int) -> Grid:
    return [values[i : i + vectors] for i in range(0, len(values), vectors)]


def _addresses(builder: ir.IRBuilder, source: Source, term: ir.Value) -> list[ir.Value]:
    offset = load(builder, builder.add(source.offsets, builder.shl(term, integer(3))), I64)
    return [builder.add(address, offset) for address in source.inputs]


def _weights(
    builder: ir.IRBuilder, source: Source, term: ir.Value, opcode: int, kind: ir.Type
) -> list[ir.Value]:
    step = integer(TERM_BYTES[opcode])
    address = builder.add(source.weights, builder.mul(term, step))
    width = VECTOR_BYTES[opcode]
    return [load(builder, ahead(builder, address, v * width), kind) for v in range(source.vectors)]


def _popcount(builder: ir.IRBuilder, isa: Isa, source: Source, term: ir.Value, sums: Grid) -> Grid:
    weights = _weights(builder, source, term, rows.POPCOUNT, WORDS)
    made = []
    for address, row in zip(_addresses(builder, source, term), sums, strict=True):
        word = splat(builder, load(builder, address, I32))
        differ = [builder.xor(word, w) for w in weights]
        counts = [call(builder, "llvm.ctpop.v16i32", WORDS, d) for d in differ]
        made.append([builder.sub(s, c) for s, c in zip(row, counts, strict=True)])
    return made


def _popcount_bytes(builder: ir.IRBuilder, source: Source) -> Grid:
    """Counts kept in bytes for `BYTE_TERMS` terms at a time: without a popcount of words, widening
    after each term would cost as much as the term."""
    vectors = source.vectors
    size = len(source.inputs) * vectors
    more = integer(BYTE_TERMS - 1)
    chunks = builder.udiv(builder.add(source.terms, more), integer(BYTE_TERMS))

    def chunk(index: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        first = builder.mul(index, integer(BYTE_TERMS))
        left = builder.sub(source.terms, first)
        short = builder.icmp_signed("<", left, integer(BYTE_TERMS))
        count = builder.select(short, left, integer(BYTE_TERMS))

        def turn(index: ir.Value, counts: list[ir.Value]) -> list[ir.Value]:
            return _popcount_byte_term(builder, source, builder.add(first, index), counts)

        counts = repeat(builder, count, [integer(0, BYTES)] * size, turn)
        wide = [_widen(builder, value) for value in counts]
        return [builder.sub(s, w) for s, w in zip(sums, wide, strict=True)]

    start = [value for row in source.start or [] for value in row]
    return _grid(repeat(builder, chunks, start, chunk), vectors)


def _popcount_byte_term(
    builder: ir.IRBuilder, source: Source, term: ir.Value, counts: list[ir.Value]
) -> list[ir.Value]:
    weights = _weights(builder, source, term, rows.POPCOUNT, WORDS)
    made = []
    for address, row in zip(
        _addresses(builder, source, term), _grid(counts, source.vectors), strict=True
    ):
        word = splat(builder, load(builder, address, I32))
        for w, held in zip(weights, row, strict=True):
            differ = builder.bitcast(builder.xor(word, w), BYTES)
            made.append(builder.add(held, call(builder, "llvm.ctpop.v64i8", BYTES, differ)))
    return made


def _widen(builder: ir.IRBuilder, counts: ir.Value) -> ir.Value:
    """Four bytes of every word summed."""
    words = builder.bitcast(counts, WORDS)
    bytes_ = integer(0x00FF00FF, WORDS)
    odd = builder.and_(builder.lshr(words, integer(8, WORDS)), bytes_)
    pairs = builder.add(builder.and_(words, bytes_), odd)
    low = builder.and_(pairs, integer(0xFFFF, WORDS))
    return builder.add(low, builder.lshr(pairs, integer(16, WORDS)))


def _dot(builder: ir.IRBuilder, isa: Isa, source: Source, term: ir.Value, sums: Grid) -> Grid:
    weights = _weights(builder, source, term, rows.DOT, WORDS)
    multiply = DOTS[isa.dot](builder, weights)
    return [
        multiply(splat(builder, load(builder, address, I32, align=1)), row)
        for address, row in zip(_addresses(builder, source, term), sums, strict=True)
    ]


def _dot_loose(builder: ir.IRBuilder, isa: Isa, source: Source, sums: Grid) -> Grid:
    """Adds the terms whose four bytes are put together here."""
    after = builder.add(source.offsets, builder.shl(source.terms, integer(3)))

    def word(address: ir.Value, offsets: list[ir.Value]) -> ir.Value:
        made = integer(0, I32)
        for place, offset in enumerate(offsets):
            byte = builder.zext(load(builder, builder.add(address, offset), I8), I32)
            made = builder.or_(made, builder.shl(byte, integer(8 * place, I32)))
        return made

    def turn(term: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        here = builder.add(after, builder.shl(term, integer(5)))
        offsets = [load(builder, ahead(builder, here, 8 * place), I64) for place in range(4)]
        weights = _weights(builder, source, builder.add(source.terms, term), rows.DOT, WORDS)
        multiply = DOTS[isa.dot](builder, weights)
        grid = _grid(state, source.vectors)
        return [
            value
            for address, row in zip(source.inputs, grid, strict=True)
            for value in multiply(splat(builder, word(address, offsets)), row)
        ]

    start = [value for row in sums for value in row]
    return _grid(repeat(builder, source.loose, start, turn), source.vectors)


def _multiply(builder: ir.IRBuilder, isa: Isa, source: Source, term: ir.Value, sums: Grid) -> Grid:
    weights = _weights(builder, source, term, rows.MULTIPLY, FLOATS)
    made = []
    for address, row in zip(_addresses(builder, source, term), sums, strict=True):
        x = splat(builder, load(builder, address, F32))
        made.append(
            [
                call(builder, "llvm.fmuladd.v16f32", FLOATS, x, w, held)
                for w, held in zip(weights, row, strict=True)
            ]
        )
    return made


def _signed(builder: ir.IRBuilder, isa: Isa, source: Source, term: ir.Value, sums: Grid) -> Grid:
    masks = [
        builder.bitcast(bits, MASK) for bits in _weights(builder, source, term, rows.SIGNED, I16)
    ]
    made = []
    for address, row in zip(_addresses(builder, source, term), sums, strict=True):
        x = splat(builder, load(builder, address, F32))
        minus = builder.fneg(x)
        terms = [builder.select(mask, x, minus) for mask in masks]
        made.append([builder.fadd(held, t) for held, t in zip(row, terms, strict=True)])
    return made


def _own(builder: ir.IRBuilder, source: Source, term: ir.Value) -> Grid:
    """For MAXIMUM and SUM: the tile's own channels of every pixel."""
    return [
        [load(builder, ahead(builder, address, 64 * v), FLOATS) for v in range(source.vectors)]
        for address in _addresses(builder, source, term)
    ]


def _maximum(builder: ir.IRBuilder, isa: Isa, source: Source, term: ir.Value, best: Grid) -> Grid:
    """NaN wins and stays, and the first of equal numbers, as in torch."""

    def larger(x: ir.Value, held: ir.Value) -> ir.Value:
        nan = builder.fcmp_unordered("uno", x, x)
        return builder.select(builder.or_(builder.fcmp_ordered(">", x, held), nan), x, held)

    return [
        [larger(x, held) for x, held in zip(xs, row, strict=True)]
        for xs, row in zip(_own(builder, source, term), best, strict=True)
    ]


def _maximum_of_numbers(builder: ir.IRBuilder, isa: Isa, source: Source) -> Grid:
    """One comparison an element instead of three, and the terms once more in the presence of NaN.

    A sum beside the maximum, by multiply-add where that has units of its own, tells: it is NaN after
    a NaN. After infinities of both signs it is too, which costs time and nothing else.
    """
    vectors = source.vectors
    size = len(source.inputs) * vectors
    chains = max(1, size // 2)

    def turn(term: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        best, sums = state[:size], state[size:]
        xs = [x for row in _own(builder, source, term) for x in row]
        for i, x in enumerate(xs):
            sums[i % chains] = call(
                builder, "llvm.fmuladd.v16f32", FLOATS, x, real(0.5), sums[i % chains]
            )
        larger = [
            builder.select(builder.fcmp_ordered(">", x, held), x, held)
            for x, held in zip(xs, best, strict=True)
        ]
        return [*larger, *sums]

    start = [_START[rows.MAXIMUM]] * size + [real(0.0)] * chains
    found = repeat(builder, source.terms, start, turn)
    best, total = found[:size], found[size]
    for more in found[size + 1 :]:
        total = builder.fadd(total, more)
    lanes = builder.bitcast(builder.fcmp_unordered("uno", total, total), I16)
    fast = builder.block
    with builder.if_then(builder.icmp_unsigned("!=", lanes, integer(0, I16)), likely=False):
        exact = [x for row in _accumulate(builder, isa, rows.MAXIMUM, source) for x in row]
        slow = builder.block
    merged = []
    for number, any_ in zip(best, exact, strict=True):
        phi = builder.phi(FLOATS)
        phi.add_incoming(number, fast)
        phi.add_incoming(any_, slow)
        merged.append(phi)
    return _grid(merged, vectors)


def _sum(builder: ir.IRBuilder, isa: Isa, source: Source, term: ir.Value, sums: Grid) -> Grid:
    return [
        [builder.fadd(held, x) for x, held in zip(xs, row, strict=True)]
        for xs, row in zip(_own(builder, source, term), sums, strict=True)
    ]


_START = {
    rows.DOT: integer(0, WORDS),
    rows.MULTIPLY: real(0.0),
    rows.SIGNED: real(0.0),
    rows.MAXIMUM: real(float("-inf")),
    rows.SUM: real(0.0),
}

_TERM = {
    rows.POPCOUNT: _popcount,
    rows.DOT: _dot,
    rows.MULTIPLY: _multiply,
    rows.SIGNED: _signed,
    rows.MAXIMUM: _maximum,
    rows.SUM: _sum,
}
