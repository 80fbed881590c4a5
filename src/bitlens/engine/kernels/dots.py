"""Four unsigned bytes times four signed ones, summed into int32: one way an instruction set.

All are the exact integer sum. The byte multiply-add of AVX2 that saturates at 16 bits is not among them.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from bitlens.engine.kernels.vector import I8, I16, I32, WORDS, call, integer, join, split

Multiplier = Callable[[ir.Value, list[ir.Value]], list[ir.Value]]
"""Adds the products of one pixel's four bytes (in every lane) to its accumulators."""


def _dot_vpdpbusd(parts: int) -> Callable[[ir.IRBuilder, list[ir.Value]], Multiplier]:
    name = f"llvm.x86.avx512.vpdpbusd.{512 // parts}"
    kind = ir.VectorType(I32, 16 // parts)

    def prepare(builder: ir.IRBuilder, weights: list[ir.Value]) -> Multiplier:
        def multiply(word: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            x = split(builder, word, parts)[0] if parts > 1 else word
            made = []
            for held, w in zip(sums, weights, strict=True):
                pieces = zip(split(builder, held, parts), split(builder, w, parts), strict=True)
                made.append(join(builder, [call(builder, name, kind, s, x, p) for s, p in pieces]))
            return made

        return multiply

    return prepare


def _dot_pmaddwd(parts: int) -> Callable[[ir.IRBuilder, list[ir.Value]], Multiplier]:
    """Even and odd bytes widened to 16 bits: exact, where the byte instruction would saturate."""
    name = "llvm.x86.avx2.pmadd.wd" if parts == 2 else "llvm.x86.sse2.pmadd.wd"
    kind = ir.VectorType(I32, 16 // parts)
    halves = ir.VectorType(I16, 32 // parts)

    def signed(builder: ir.IRBuilder, weight: ir.Value) -> tuple[ir.Value, ir.Value]:
        both, byte = builder.bitcast(weight, halves), integer(8, halves)
        return builder.ashr(builder.shl(both, byte), byte), builder.ashr(both, byte)

    def prepare(builder: ir.IRBuilder, weights: list[ir.Value]) -> Multiplier:
        pairs = [[signed(builder, part) for part in split(builder, w, parts)] for w in weights]

        def multiply(word: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            x = split(builder, word, parts)[0]
            bytes_ = integer(0x00FF00FF, kind)
            even = builder.bitcast(builder.and_(x, bytes_), halves)
            high = builder.and_(builder.lshr(x, integer(8, kind)), bytes_)
            odd = builder.bitcast(high, halves)

            def add(held: ir.Value, w: tuple[ir.Value, ir.Value]) -> ir.Value:
                held = builder.add(held, call(builder, name, kind, even, w[0]))
                return builder.add(held, call(builder, name, kind, odd, w[1]))

            return [
                join(
                    builder, [add(h, w) for h, w in zip(split(builder, s, parts), own, strict=True)]
                )
                for s, own in zip(sums, pairs, strict=True)
            ]

        return multiply

    return prepare


def _dot_sdot(builder: ir.IRBuilder, weights: list[ir.Value]) -> Multiplier:
    """Signed by signed only: the sum of (x - 128) w, and 128 times the sum of w, which is 64 w + 64 w."""
    name, quarter = "llvm.aarch64.neon.sdot.v4i32.v16i8", ir.VectorType(I32, 4)
    bytes_ = ir.VectorType(I8, 16)

    def dot(held: ir.Value, x: ir.Value, w: ir.Value) -> ir.Value:
        return call(
            builder, name, quarter, held, builder.bitcast(x, bytes_), builder.bitcast(w, bytes_)
        )

    pieces = [split(builder, weight, 4) for weight in weights]
    sixty_four = integer(0x40404040, quarter)
    shifts = [
        [dot(dot(integer(0, quarter), sixty_four, w), sixty_four, w) for w in parts]
        for parts in pieces
    ]

    def multiply(word: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        x = split(builder, builder.xor(word, integer(0x80808080, WORDS)), 4)[0]
        made = []
        for held, parts, shift in zip(sums, pieces, shifts, strict=True):
            accumulated = [
                dot(builder.add(h, s), x, w)
                for h, s, w in zip(split(builder, held, 4), shift, parts, strict=True)
            ]
            made.append(join(builder, accumulated))
        return made

    return multiply


def _dot_multiply(builder: ir.IRBuilder, weights: list[ir.Value]) -> Multiplier:
    def signed(weight: ir.Value, byte: int) -> ir.Value:
        high = builder.shl(weight, integer(24 - 8 * byte, WORDS))
        return builder.ashr(high, integer(24, WORDS))

    bytes_ = [[signed(weight, byte) for byte in range(4)] for weight in weights]

    def multiply(word: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        made = []
        for held, ws in zip(sums, bytes_, strict=True):
            total = held
            for byte, w in enumerate(ws):
                x = builder.and_(builder.lshr(word, integer(8 * byte, WORDS)), integer(255, WORDS))
                total = builder.add(total, builder.mul(x, w))
            made.append(total)
        return made

    return multiply


DOTS: dict[str, Callable[[ir.IRBuilder, list[ir.Value]], Multiplier]] = {
    "vpdpbusd-512": _dot_vpdpbusd(1),
    "vpdpbusd-256": _dot_vpdpbusd(2),
    "pmaddwd-256": _dot_pmaddwd(2),
    "pmaddwd-128": _dot_pmaddwd(4),
    "sdot": _dot_sdot,
    "multiply": _dot_multiply,
}
"""By `Isa.dot`: prepares the weights of a term, once for all pixels."""
