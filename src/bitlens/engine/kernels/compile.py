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
_CALLED = ("expf", "fmaf", "memcpy", "memmove", "memset", "rintf")
"""What the compiler may call on its own, besides what the module declares: fmaf and rintf for a CPU without
instructions for them."""
_WITHOUT_AVX = ("corei7-avx", "core-avx-i", "sandybridge", "ivybridge", "nocona")
"""CPUs that Numba keeps from AVX unless told otherwise."""
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
        target: what it was compiled for, as `target` writes it.
        kernel: name of the instruction set that the tiles use.
        needs: functions of the C library that it calls.
    """

    machine: bytes
    triple: str
    target: str
    kernel: str
    needs: tuple[str, ...]


def target() -> str:
    """What the compiler would compile for: system, CPU, its instructions and effort, as Numba finds them.

    Numba itself is not asked, because its import takes longer than all else. Of its settings these four
    decide, taken from the environment: NUMBA_CPU_NAME, NUMBA_CPU_FEATURES, NUMBA_ENABLE_AVX, NUMBA_OPT.
    """
    _start()
    cpu = os.environ.get("NUMBA_CPU_NAME", llvm.get_host_cpu_name())
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        found = llvm.get_host_cpu_features()
        if not _number("NUMBA_ENABLE_AVX", cpu not in _WITHOUT_AVX):
            found.update({name: False for name in found if name.startswith("avx")})
        features = found.flatten()
    effort = os.environ.get("NUMBA_OPT")
    if effort != "max":
        effort = str(_number("NUMBA_OPT", 3))
    return _target(llvm.get_process_triple(), cpu, features, effort)


def _number(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError:
        return default


def _target(triple: str, cpu: str, features: str, effort: str) -> str:
    return "\n".join((triple, cpu, features, f"optimisation {effort}"))


def build() -> Code:
    """Compile the walker, with all kernels, for this CPU."""
    from numba import config, int64
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
    # Numba's cached property is no property to a checker.
    context: Any = cpu_target.target_context
    triple, cpu, features = context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="jitdefault", jit=True
    )
    _strip(module, machine)
    settings: Any = config
    effort = "max" if settings.OPT.is_opt_max else str(int(settings.OPT))
    needs = tuple(
        f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")
    )
    return Code(
        machine=machine.emit_object(module),
        triple=triple,
        target=_target(triple, cpu, features, effort),
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
