"""Words of LLVM IR that the tiles are written in: vectors of 16 lanes, memory by address, loops.

Addresses are int64 values. Everything is loaded and stored unaligned, down to the alignment of one
element, because NumPy and torch promise no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llvmlite import ir

Value: TypeAlias = Any
"""A value in IR; llvmlite's classes do not tell a checker that each has a type."""

Type: TypeAlias = Any
"""A type in IR, with the width, element or count that its kind has."""

LANES = 16

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32 = ir.FloatType()
MASK = ir.VectorType(I1, LANES)
BYTES = ir.VectorType(I8, 4 * LANES)
WORDS = ir.VectorType(I32, LANES)
FLOATS = ir.VectorType(F32, LANES)


def integer(value: int, kind: ir.Type = I64) -> ir.Constant:
    """A constant, in every lane where `kind` is a vector."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)
    return ir.Constant(kind, value)


def real(value: float) -> ir.Constant:
    """A float32 constant in all 16 lanes."""
    return ir.Constant(FLOATS, [ir.Constant(F32, value)] * LANES)


def ahead(builder: ir.IRBuilder, address: Value, step: int) -> Value:
    """`address` + `step` bytes."""
    return builder.add(address, integer(step)) if step else address


def load(builder: ir.IRBuilder, address: Value, kind: Type, align: int | None = None) -> Value:
    """What lies at an address, aligned to its element unless said otherwise."""
    pointer = builder.inttoptr(address, kind.as_pointer())
    return builder.load(pointer, align=align or _element_bytes(kind))


def store(builder: ir.IRBuilder, value: Value, address: Value, align: int | None = None) -> None:
    """Write a value to an address, aligned to its element unless said otherwise."""
    pointer = builder.inttoptr(address, value.type.as_pointer())
    builder.store(value, pointer, align=align or _element_bytes(value.type))


def _element_bytes(kind: Type) -> int:
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    return 4 if isinstance(element, ir.FloatType) else max(element.width // 8, 1)


def splat(builder: ir.IRBuilder, value: Value, lanes: int = LANES) -> Value:
    """A scalar in every lane."""
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, integer(0, I32))
    order = ir.Constant(ir.VectorType(I32, lanes), [ir.Constant(I32, 0)] * lanes)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), order)


def split(builder: ir.IRBuilder, value: Value, parts: int) -> list[Value]:
    """A vector as `parts` vectors of consecutive lanes."""
    count = value.type.count // parts
    nothing = ir.Constant(value.type, ir.Undefined)
    return [
        builder.shuffle_vector(value, nothing, _order(range(part * count, (part + 1) * count)))
        for part in range(parts)
    ]


def join(builder: ir.IRBuilder, parts: Sequence[Value]) -> Value:
    """Vectors one behind the other; their number is a power of two."""
    joined = list(parts)
    while len(joined) > 1:
        order = _order(range(2 * joined[0].type.count))
        pairs = zip(joined[::2], joined[1::2], strict=True)
        joined = [builder.shuffle_vector(low, high, order) for low, high in pairs]
    return joined[0]


def _order(lanes: range) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(lanes)), [ir.Constant(I32, i) for i in lanes])


def call(builder: ir.IRBuilder, name: str, kind: Type, *arguments: Value) -> Value:
    """Call an LLVM intrinsic by its full name, declared by hand: llvmlite refuses vectors."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(kind, [a.type for a in arguments]), name)
    return builder.call(function, arguments)


def fma(builder: ir.IRBuilder, a: Value, b: Value, c: Value) -> Value:
    """a * b + c rounded once."""
    return call(builder, "llvm.fma.v16f32", FLOATS, a, b, c)


def repeat(
    builder: ir.IRBuilder,
    count: Value,
    state: Sequence[Value],
    body: Callable[[Value, list[Value]], Sequence[Value]],
) -> list[Value]:
    """A loop of `count` turns; `body(turn, state)` gives the next state, all of it in registers."""
    before = builder.block
    head, turn_block, after = (builder.append_basic_block(n) for n in ("head", "turn", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    turn = builder.phi(I64)
    turn.add_incoming(integer(0), before)
    held = [builder.phi(value.type) for value in state]
    for phi, value in zip(held, state, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", turn, count), turn_block, after)
    builder.position_at_end(turn_block)
    changed = body(turn, list(held))
    turn.add_incoming(builder.add(turn, integer(1)), builder.block)
    for phi, value in zip(held, changed, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return list(held)
