"""All pixels of a band for a few vectors of output channels: tile after tile, one LLVM function a shape.

A function of its own for every opcode and number of vectors keeps the compiler's work on each small.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from bitlens.engine.kernels import rows
from bitlens.engine.kernels.address import intrinsic
from bitlens.engine.kernels.isa import Isa, host
from bitlens.engine.kernels.tile import emit_tile
from bitlens.engine.kernels.vector import I64, ahead, integer, load, repeat

SHAPES = {4: 4, 2: 4, 1: 8} if host().wide else {1: 4}
"""Vectors of 16 output channels of a tile, and pixels, as registers hold them.

On 32 registers of 16 lanes, 3 or 6 pixels by 4 vectors are slower than 4, and 2 or 7 by a tenth.
"""


def emit_sweep(module: ir.Module, isa: Isa, opcode: int, most: int, vectors: int) -> ir.Function:
    """A function over all pixels of a band: tiles of `most` pixels, then of one.

    Its arguments are those of `emit_tile` from `row` to `channel`. A module holds it once.
    """
    name = f"bitlens_sweep_{opcode}_{vectors}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 4), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    row = function.args[0]
    height = load(builder, ahead(builder, row, 8 * rows.HEIGHT), I64)
    width = load(builder, ahead(builder, row, 8 * rows.OUT_WIDTH), I64)
    count = builder.mul(height, width)
    place = [integer(0), integer(0)]
    for pixels, turns in (
        (most, builder.udiv(count, integer(most))),
        (1, builder.urem(count, integer(most))),
    ):

        def turn(_: ir.Value, at: list[ir.Value], pixels: int = pixels) -> list[ir.Value]:
            return emit_tile(builder, isa, opcode, pixels, vectors, *function.args, *at)

        place = repeat(builder, turns, place, turn)
    builder.ret_void()
    return function


@intrinsic
def sweep(
    typing_context: Any,
    opcode: Any,
    vectors: Any,
    row: Any,
    inputs: Any,
    weights: Any,
    channel: Any,
) -> Any:
    """Compute all pixels of a row's band for `vectors` vectors from `channel` on; `SHAPES` has `vectors`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        opcode, vectors, *rest = arguments
        shape = builder.add(builder.shl(opcode, integer(3)), vectors)
        after = builder.append_basic_block("after_sweep")
        chosen = builder.switch(shape, after)
        for code in rows.TILED_OPCODES:
            for width, pixels in SHAPES.items():
                block = builder.append_basic_block(f"sweep_{code}_{width}")
                chosen.add_case(integer(8 * code + width), block)
                builder.position_at_end(block)
                function = emit_sweep(builder.module, host(), code, pixels, width)
                builder.call(function, rest)
                builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), emit
