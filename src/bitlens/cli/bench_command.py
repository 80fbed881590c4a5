"""`bitlens bench FILE`: a packed net against other engines, timed on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bitlens.cli.bits_file import find_bits
from bitlens.cli.options import parse, take_names
from bitlens.errors import BitlensError, unknown

if TYPE_CHECKING:
    from rich.table import Table

    from bitlens.engine.bench.bench import Bench

FORCED = {"avx2": "x86-64-v3", "generic": "x86-64-v2"}
"""CPU models that Numba compiles for when an instruction set is forced."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Time a packed net beside other engines on the same layers, in turns in one process.

    FILE is a .bits file or a run folder with one. The other engines run the float twin: the same layers
    with ordinary arithmetic. Ratios are medians over rounds of times taken in the same round.
    """

    peers: str = ""
    """torch, onnxruntime, openvino, onnxruntime-int8, openvino-int8, int8 for the last two, or none; commas
    between; by default all that are installed."""
    threads: int = 1
    """CPU threads that the other engines may use for an image; the packed net computes one image on one
    thread always, and is timed on two with a batch of its own."""
    rounds: int = 50
    """Rounds in which every engine answers."""
    clock: Literal["wall", "cpu"] = "wall"
    """What the engines are timed by; processor time leaves out what other programs take."""
    isa: Literal["host", "avx2", "generic"] = "host"
    """Build the packed net's kernels for a CPU with AVX2 only, or without any AVX; the other engines keep
    what they find."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write all figures to this file too."""


def run(arguments: Sequence[str]) -> None:
    """Measure and print."""
    names, rest = take_names(arguments, "bench: name one .bits file or run folder")
    options: BenchOptions = parse(BenchOptions, "bench FILE", rest)
    for field in ("threads", "rounds"):
        if getattr(options, field) < 1:
            raise BitlensError(f"bench: {field}={getattr(options, field)}; give at least 1")
    path = find_bits("bench", names[0])
    peers, wanted = _peers(options.peers)
    _check_json(options.json)
    if options.isa != "host":
        _rerun(options.isa, path, options)
    else:
        _bench(path, peers, bool(wanted), options)


def _peers(given: str) -> tuple[tuple[str, ...], list[str]]:
    """Peers spelled out, and the names that were given for them."""
    from bitlens.engine.bench.peers import GROUPS, PEERS, named

    wanted = [name.strip() for name in given.split(",") if name.strip()]
    for name in wanted:
        if name not in (*PEERS, *GROUPS, "none"):
            raise unknown("peer", name, [*PEERS, *GROUPS, "none"])
    if "none" not in wanted:
        return named(wanted or ["all"]), wanted
    if wanted != ["none"]:
        raise BitlensError(f"bench: peers={given}; none stands alone")
    return (), wanted


def _check_json(path: Path | None) -> None:
    """Refuse a name that cannot be written before anything is timed."""
    if path is None:
        return
    if path.is_dir():
        raise BitlensError(f"bench: {path} is a folder; name a file for the figures")
    if not path.parent.is_dir():
        raise BitlensError(f"bench: there is no folder {path.parent} to write {path.name} into")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BitlensError(f"bench: {path} cannot be written: no permission")


def _rerun(isa: str, path: Path, options: BenchOptions) -> None:
    """The same command in a process whose Numba is told another CPU: it reads that when imported."""
    command = [sys.executable, "-m", "bitlens", "bench", str(path), "--threads"]
    command += [str(options.threads), "--rounds", str(options.rounds), "--peers", options.peers]
    command += ["--clock", options.clock]
    if options.json is not None:
        command += ["--json", str(options.json)]
    # Without the second variable Numba adds the features of the host to the forced model.
    forced = {"NUMBA_CPU_NAME": FORCED[isa], "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(command, env={**os.environ, **forced})
    if done.returncode < 0:
        raise BitlensError(
            f"bench: the process with --isa {isa} was ended by signal {-done.returncode}"
        )
    sys.exit(done.returncode)  # what went wrong it has told itself


def _bench(path: Path, peers: Sequence[str], explicit: bool, options: BenchOptions) -> None:
    from bitlens.cli.display import console
    from bitlens.engine.bench.bench import bench
    from bitlens.training.run import cpu_name

    screen = console()
    done = bench(
        path,
        peers=peers,
        optional=not explicit,
        threads=options.threads,
        rounds=options.rounds,
        clock=options.clock,
    )
    screen.print(f"{path} on {cpu_name()} ({done.cpu}); {done.kernel}", soft_wrap=True)
    screen.print(_layers(done))
    screen.print(_engines(done))
    for line in _told(done):
        screen.print(line, soft_wrap=True)
    if options.json is not None:
        done.save(options.json)
        screen.print(f"figures {options.json}", soft_wrap=True)


def _told(done: Bench) -> list[str]:
    """Sentences below the tables."""
    from bitlens.report.quantities import amount, ratio, size

    operations = done.operations
    lines = [
        *(f"{engine.name}: {engine.description}, {engine.version}" for engine in done.engines),
        f"file {size(done.file_bytes)}, the same net as float32 {size(done.float_bytes)} "
        f"({ratio(done.float_bytes, done.file_bytes)} smaller)",
        f"one image: {amount(operations['binary_macs'])} 1-bit, {amount(operations['int8_macs'])} int8, "
        f"{amount(operations['float_macs'])} float multiply-accumulates, OPs {amount(operations['ops'])}",
        f"this CPU's peak, one thread: {done.peak.popcount:.0f} 1-bit, {done.peak.int8:.0f} int8, "
        f"{done.peak.float32:.0f} float multiply-accumulates a nanosecond",
    ]
    if done.throughput is not None:
        found = done.throughput
        lines.append(
            f"{found.images} images on {found.threads} threads: {found.images_per_second:.0f} images/s, "
            f"{found.speedup:.2f} times one thread ({found.low:.2f} .. {found.high:.2f})"
        )
    return [*lines, *done.notes]


def _engines(done: Bench) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from bitlens.report.quantities import plural

    rounds = done.engines[0].timing.rounds
    table = Table(
        title=f"one image, {plural(done.threads, 'thread')}, {rounds} rounds, {done.clock} clock",
        caption="by packed: time by the packed net's in the same round, median",
        box=SIMPLE_HEAD,
    )
    table.add_column("engine", no_wrap=True)
    for name in ("ms", "p10 .. p90", "by packed", "95 % CI"):
        table.add_column(name, justify="right", no_wrap=True)
    for engine in done.engines:
        timing = engine.timing
        table.add_row(
            engine.name,
            f"{timing.milliseconds:.3f}",
            f"{timing.p10:.3f} .. {timing.p90:.3f}",
            f"{timing.ratio:.2f}",
            f"{timing.low:.2f} .. {timing.high:.2f}" if engine is not done.engines[0] else "-",
        )
    return table


def _layers(done: Bench) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from bitlens.report.quantities import amount

    total = sum(layer.microseconds for layer in done.layers)
    table = Table(
        title="packed net, part by part", show_footer=True, box=SIMPLE_HEAD, collapse_padding=True
    )
    table.add_column("part", "total", no_wrap=True)
    table.add_column("operation", no_wrap=True)
    table.add_column("us", f"{total:.1f}", justify="right", no_wrap=True)
    for name in ("of all", "1-bit MACs", "int8 MACs", "float MACs", "of peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in done.layers:
        share = layer.share_of_peak
        table.add_row(
            Text(layer.name),
            layer.op,
            f"{layer.microseconds:.1f}",
            f"{layer.microseconds / total:.0%}",
            *(amount(n or None) for n in (layer.binary_macs, layer.int8_macs, layer.float_macs)),
            "-" if share is None else f"{share:.0%}",
        )
    return table
