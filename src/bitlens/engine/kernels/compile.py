"""Turns the walker of programs into one object file for this CPU, and loads such a file.

The file holds everything that a program calls, so a process that loads it needs no Numba, whose import and
bookkeeping take longer than all else before a first answer.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

Run = Callable[[int, int], None]
"""Runs a program: address of its first row, and number of rows."""

ENTRY = "bitlens_run"
_CALLED = ("expf", "memcpy", "memmove", "memset")
"""What the compiler may call on its own, besides what the module declares."""
_LIBRARIES = (None, "libm.so.6", "libm.so", "libSystem.dylib", "ucrtbase", "vcruntime140")
"""Where those functions are, on one system or another; None is the process itself."""
_ENTRY = """
declare i32 @"{name}"(ptr, ptr, i64, i64)
define void @{entry}(i64 %program, i64 %count) {{
  %answer = alloca ptr
  %error = alloca ptr
  %status = call i32 @"{name}"(ptr %answer, ptr %error, i64 %program, i64 %count)
  ret void
}}
"""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Machine code.

    Attributes:
        machine: an object file that defines `ENTRY`.
        triple: the system that it is for, as LLVM writes it.
        kernel: name of the instruction set that the tiles use.
        needs: functions of the C library that it calls.
    """

    machine: bytes
    triple: str
    kernel: str
    needs: tuple[str, ...]


@functools.cache
def target() -> str:
    """What decides the code: the CPU, and the settings that let Numba take it for another."""
    _start()
    settings = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("NUMBA_")]
    features = llvm.get_host_cpu_features().flatten()
    return "\n".join((llvm.get_process_triple(), llvm.get_host_cpu_name(), features, *settings))


def build() -> Code:
    """Compile the walker, with all kernels, for this CPU."""
    from numba import int64
    from numba.core.registry import cpu_target

    from bitlens.engine.kernels.isa import host
    from bitlens.engine.kernels.program import run

    walker: Any = run
    walker.compile((int64, int64))
    (compiled,) = walker.overloads.values()
    module = llvm.parse_assembly(compiled.library.get_llvm_str())
    module.link_in(
        llvm.parse_assembly(_ENTRY.format(name=compiled.fndesc.llvm_func_name, entry=ENTRY))
    )
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="jitdefault", jit=True
    )
    _strip(module, machine)
    needs = tuple(
        f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")
    )
    return Code(
        machine=machine.emit_object(module),
        triple=triple,
        kernel=host().name,
        needs=(*needs, *_CALLED),
    )


def _strip(module: Any, machine: Any) -> None:
    """Remove what the entry does not reach: Python wrappers and their error handling."""
    for function in module.functions:
        if not function.is_declaration and function.name != ENTRY:
            function.linkage = llvm.Linkage.internal
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = llvm.Linkage.internal
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))


def link(code: Code) -> Run | None:
    """Load machine code into this process.

    Returns:
        The walker, or None where this process lacks a function that the code calls.
    """
    _start()
    if not all(_find(name) for name in code.needs):
        return None
    machine = llvm.Target.from_triple(code.triple).create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.machine))
    engine.finalize_object()
    call: Any = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(
        engine.get_function_address(ENTRY)
    )
    # The code lives as long as what refers to its engine.
    call.engine = engine
    return call


def _find(name: str) -> bool:
    """Make a function of the C library known to the linker."""
    if llvm.address_of_symbol(name):
        return True
    for library in _LIBRARIES:
        try:
            function = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError, TypeError):
            continue
        llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
        return True
    return False


@functools.cache
def _start() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
