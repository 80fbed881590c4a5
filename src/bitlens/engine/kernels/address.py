"""Loads and stores at plain integer addresses, and a fused multiply-add, for compiled functions.

Every function takes a base address and an offset in bytes. Kept apart, the compiler sees a pointer and a
step, and turns a loop over the step into vectors; a sum of integers it would not look through.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types

# Numba's stubs take an intrinsic for its generator, with the typing context as a first argument.
intrinsic: Any = extending.intrinsic


def _pointer(builder: Any, base: Any, offset: Any) -> Any:
    start = builder.inttoptr(base, ir.IntType(8).as_pointer())
    return builder.gep(start, [offset], source_etype=ir.IntType(8))


def _loader(numba_type: Any, llvm_type: Any) -> Any:
    @intrinsic
    def load(typing_context: Any, base: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = _pointer(builder, *arguments)
            typed = builder.bitcast(pointer, llvm_type.as_pointer())
            return builder.load(typed, align=1, typ=llvm_type)

        return numba_type(types.int64, types.int64), generate

    return load


def _storer(numba_type: Any, llvm_type: Any) -> Any:
    @intrinsic
    def store(typing_context: Any, base: Any, offset: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = _pointer(builder, arguments[0], arguments[1])
            typed = builder.bitcast(pointer, llvm_type.as_pointer())
            builder.store(arguments[2], typed, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, numba_type), generate

    return store


load_float = _loader(types.float32, ir.FloatType())
load_int64 = _loader(types.int64, ir.IntType(64))
load_word = _loader(types.uint32, ir.IntType(32))
load_byte = _loader(types.uint8, ir.IntType(8))
store_float = _storer(types.float32, ir.FloatType())
store_word = _storer(types.uint32, ir.IntType(32))
store_byte = _storer(types.uint8, ir.IntType(8))


@intrinsic
def at(typing_context: Any, row: Any, column: Any) -> Any:
    """The integer in a column of the row at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(64)
        start = builder.inttoptr(arguments[0], integer.as_pointer())
        cell = builder.gep(start, [arguments[1]], source_etype=integer)
        return builder.load(cell, align=8, typ=integer)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def fused_multiply_add(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """Round `x y + z` once, in float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.FloatType()
        kind = ir.FunctionType(number, [number] * 3)
        function = builder.module.declare_intrinsic("llvm.fma", [number], kind)
        return builder.call(function, arguments)

    single = types.float32
    return single(single, single, single), generate
