"""Which instructions the compiler may use on this CPU, and so which tiles it builds.

The compiler itself is asked: three small functions are turned into assembly for the target that Numba
compiles for, and the mnemonics in it are the answer. This holds for every CPU LLVM knows, and for one
forced through NUMBA_CPU_NAME and NUMBA_CPU_FEATURES. (Numba keeps the host's features under a forced
name, so `NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES=` forces AVX2, the name alone does not.)
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
from numba.core.registry import cpu_target

_PROBE = """
declare <16 x i32> @llvm.ctpop.v16i32(<16 x i32>)
declare i32 @llvm.vector.reduce.add.v64i32(<64 x i32>)
define <16 x i32> @popcount(<16 x i32> %x) {
  %y = call <16 x i32> @llvm.ctpop.v16i32(<16 x i32> %x)
  ret <16 x i32> %y
}
define i32 @dot(<64 x i8> %x, <64 x i8> %w) {
  %a = zext <64 x i8> %x to <64 x i32>
  %b = sext <64 x i8> %w to <64 x i32>
  %c = mul <64 x i32> %a, %b
  %d = call i32 @llvm.vector.reduce.add.v64i32(<64 x i32> %c)
  ret i32 %d
}
define i32 @signed_dot(<64 x i8> %x, <64 x i8> %w) {
  %a = sext <64 x i8> %x to <64 x i32>
  %b = sext <64 x i8> %w to <64 x i32>
  %c = mul <64 x i32> %a, %b
  %d = call i32 @llvm.vector.reduce.add.v64i32(<64 x i32> %c)
  ret i32 %d
}
"""


@dataclass(frozen=True, kw_only=True)
class Isa:
    """Instructions a tile may count on.

    Attributes:
        name: "avx512-vpopcntdq", "avx2", "neon" or "generic".
        dot: how four bytes are multiplied and summed: "vpdpbusd-512", "vpdpbusd-256", "pmaddwd-256",
            "pmaddwd-128", "sdot" or "multiply".
    """

    name: str
    dot: str

    @property
    def wide(self) -> bool:
        """Whether there are 32 registers of 16 lanes, so that a tile may hold 16 of them and more."""
        return self.name == "avx512-vpopcntdq"

    @property
    def description(self) -> str:
        """One line for users: what runs here, and what would run faster."""
        dot = "int8 by " + self.dot
        if self.wide:
            return f"kernel: {self.name}, {dot}"
        return (
            f"slower kernel: {self.name}, {dot}; the fastest needs a CPU with AVX-512 VPOPCNTDQ"
            " (Intel Ice Lake, AMD Zen 4 or newer)"
        )


def inspect(triple: str, cpu: str, features: str) -> Isa:
    """What the compiler emits for a target.

    Args:
        triple: target triple as LLVM writes it.
        cpu: name of the CPU model.
        features: LLVM's list of features, "+avx2,-fma", possibly empty.
    """
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=cpu, features=features)
    module = llvm.parse_assembly(_PROBE)
    module.triple = triple
    return _recognise(triple, machine.emit_assembly(module))


@functools.cache
def host() -> Isa:
    """What Numba compiles for in this process."""
    # Numba's cached property is no property to a checker.
    context: Any = cpu_target.target_context
    return inspect(*context.codegen().magic_tuple())


def _recognise(triple: str, assembly: str) -> Isa:
    if triple.startswith(("aarch64", "arm64")):
        return Isa(name="neon", dot="sdot" if "sdot" in assembly else "multiply")
    if not triple.startswith(("x86_64", "i686")):
        return Isa(name="generic", dot="multiply")
    if "vpopcntd" in assembly and "zmm" in assembly:
        dot = "vpdpbusd-512" if "vpdpbusd" in assembly else "pmaddwd-256"
        return Isa(name="avx512-vpopcntdq", dot=dot)
    if "vpdpbusd" in assembly:
        return Isa(name="avx2", dot="vpdpbusd-256")
    if "ymm" in assembly and "vpmaddwd" in assembly:
        return Isa(name="avx2", dot="pmaddwd-256")
    return Isa(name="generic", dot="pmaddwd-128")
