"""The code of the tiles for other CPUs: what the compiler makes of them, and what forced targets compute."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from bitlens.engine.kernels import rows
from bitlens.engine.kernels.isa import Isa, host, inspect
from bitlens.engine.kernels.tile import emit_tile
from bitlens.engine.kernels.vector import I64

X86 = "x86_64-unknown-linux-gnu"
ARM = "aarch64-unknown-linux-gnu"


@pytest.fixture(scope="module", autouse=True)
def all_targets() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def assembly(
    triple: str, cpu: str, opcode: int, pixels: int, vectors: int, features: str = ""
) -> str:
    """Assembly of one tile for another CPU."""
    isa = inspect(triple, cpu, features)
    module = ir.Module("tile")
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 6), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emit_tile(builder, isa, opcode, pixels, vectors, *function.args)
    builder.ret_void()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3
    )
    parsed = llvm.parse_assembly(str(module))
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(parsed, passes)
    return machine.emit_assembly(parsed)


def count(mnemonic: str, text: str) -> int:
    return len(re.findall(rf"^\s+{mnemonic}\b", text, re.MULTILINE))


def loop(mnemonic: str, text: str) -> str:
    """The block with most of an instruction, up to its jump."""
    block = max(re.split(r"\n\.L\w+:", text), key=lambda block: count(mnemonic, block))
    return block[: re.search(r"^\s+(j\w+|b\.\w+)\s+\.L", block, re.MULTILINE).start()]


@pytest.mark.parametrize(
    ("triple", "cpu", "name", "dot"),
    [
        (X86, "znver5", "avx512-vpopcntdq", "vpdpbusd-512"),
        (X86, "icelake-server", "avx512-vpopcntdq", "vpdpbusd-512"),
        (X86, "cascadelake", "avx2", "vpdpbusd-256"),
        (X86, "skylake-avx512", "avx2", "pmaddwd-256"),
        (X86, "alderlake", "avx2", "vpdpbusd-256"),
        (X86, "x86-64-v3", "avx2", "pmaddwd-256"),
        (X86, "x86-64-v2", "generic", "pmaddwd-128"),
        (X86, "x86-64", "generic", "pmaddwd-128"),
        (ARM, "neoverse-n1", "neon", "sdot"),
        (ARM, "cortex-a72", "neon", "multiply"),
        ("arm64-apple-darwin", "apple-m1", "neon", "sdot"),
        ("riscv64-unknown-linux-gnu", "generic-rv64", "generic", "multiply"),
    ],
)
def test_what_cpus_offer(triple, cpu, name, dot):
    assert inspect(triple, cpu, "") == Isa(name=name, dot=dot)


def test_features_overrule_the_model():
    assert inspect(X86, "znver5", "-avx512f").name == "avx2"
    assert inspect(X86, "x86-64", "+avx2,+avxvnni").dot == "vpdpbusd-256"


def test_only_the_fastest_kernel_is_not_called_slower():
    for name in ("avx512-vpopcntdq", "avx2", "neon", "generic"):
        isa = Isa(name=name, dot="multiply")
        assert isa.description.startswith("slower kernel: ") == (name != "avx512-vpopcntdq")
        assert name in isa.description


def test_avx512_popcount_tile_keeps_its_sums_in_registers():
    text = assembly(X86, "icelake-server", rows.POPCOUNT, 4, 4)
    body = loop("vpopcntd", text)
    assert count("vpopcntd", body) == count("vpsubd", body) == 16
    assert "ymm" not in body
    assert "rsp" not in body


def test_avx512_dot_tile_is_one_instruction_a_vector():
    text = assembly(X86, "icelake-server", rows.DOT, 4, 4)
    assert count("vpdpbusd", loop("vpdpbusd", text)) == 16
    assert count("vpdpbusd", text) == 2 * 16
    assert "vpmaddubsw" not in text


def test_avx2_tiles_use_whole_registers():
    text = assembly(X86, "x86-64-v3", rows.POPCOUNT, 4, 1)
    assert count("vpshufb", text) == 16
    assert count("popcnt[lq]?", text) == 0
    text = assembly(X86, "x86-64-v3", rows.DOT, 4, 1)
    assert count("vpmaddwd", loop("vpmaddwd", text)) == 16
    assert count("vpmaddwd", text) == 2 * 16
    assert "vpmaddubsw" not in text


def test_neon_popcount_tile_counts_in_vectors():
    text = assembly(ARM, "neoverse-n1", rows.POPCOUNT, 4, 1)
    body = loop("cnt", text)
    assert len(re.findall(r"\bcnt\s+v\d+\.16b", body)) == 16
    assert not re.search(r"fmov|\bsp\b", body)


@pytest.mark.parametrize(("cpu", "mnemonic"), [("neoverse-n1", "sdot"), ("cortex-a72", "mla")])
def test_neon_dot_tile_multiplies_in_vectors(cpu, mnemonic):
    text = assembly(ARM, cpu, rows.DOT, 4, 1)
    assert count(mnemonic, text) >= 16


@pytest.mark.parametrize("opcode", rows.TILED_OPCODES)
def test_every_tile_compiles_for_arm(opcode):
    for pixels in (1, 4):
        assert "tile:" in assembly(ARM, "neoverse-n1", opcode, pixels, 1)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v2", "alderlake"])
def test_forced_targets_compute_the_same(cpu):
    """The comparison with the reference once more, in a process that Numba takes for an older CPU."""
    triple = llvm.get_process_triple()
    if not triple.startswith("x86_64"):
        pytest.skip("x86 targets")
    if cpu == "alderlake" and not llvm.get_host_cpu_features().get("avxvnni"):
        pytest.skip("this CPU has no AVX-VNNI")
    if cpu == "x86-64-v3" and host().name not in ("avx2", "avx512-vpopcntdq"):
        pytest.skip("this CPU has no AVX2")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=-q",
         str(Path(__file__).with_name("test_tiled.py"))],
        env=os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
