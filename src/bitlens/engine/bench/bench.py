"""A packed net timed beside other engines on this machine, and where its own time goes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import binding

import bitlens
from bitlens.engine.bench.peers import MissingPackage, Peer, prepare
from bitlens.engine.bench.timing import CLOCKS, Timing, compare, cores, interleave, load_average
from bitlens.engine.counts import Cost, Counts, count
from bitlens.engine.file.format import read
from bitlens.engine.graph import Graph
from bitlens.engine.kernels.isa import host
from bitlens.engine.kernels.peak import Peak, measure_peak
from bitlens.engine.run.session import Session
from bitlens.engine.table import table
from bitlens.errors import BitlensError

PROFILE_REPEATS = 200
"""Answers over which the time of each layer is taken."""

SHARE = 16
"""Most images for each thread where several share a batch."""

SHARE_SECONDS = 0.02
"""About how long a thread's share takes; fewer images where one takes long."""

COPIES = ("image", "border", "expand", "regroup", "answer")
"""Parts of a program that prepare what a node reads, or bring images in and answers out."""

PACKED = "packed"
"""Name of the packed net among the engines."""

BUSY = 0.5
"""Processes that want a core on average, from which on the figures are said to be disturbed."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine's time for one image; `timing.ratio` is its time by the packed net's."""

    name: str
    description: str
    version: str
    timing: Timing


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """One part of the packed net.

    Attributes:
        name: module path of the layer, or of what makes the values.
        op: kind of node, "band" where several run as one.
        microseconds: for one image, median.
        binary_macs, int8_macs, float_macs: multiply-accumulates.
        share_of_peak: time these products take at this CPU's peak by the time taken; None without any.
    """

    name: str
    op: str
    microseconds: float
    binary_macs: int
    int8_macs: int
    float_macs: int
    share_of_peak: float | None


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """A batch of images on several threads.

    Attributes:
        threads: that share the work.
        images: in the batch.
        images_per_second: of the threads together.
        one_thread: images a second of one thread on the same images.
        speedup: several threads by one, median over the rounds, and its 95 % interval in `low`, `high`.
    """

    threads: int
    images: int
    images_per_second: float
    one_thread: float
    speedup: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """All figures of one measurement.

    Attributes:
        file: the `.bits` file.
        meta: where its net comes from.
        image: (h, w, c).
        cpu: model of the CPU by LLVM's name.
        kernel: instructions the packed net's kernels use.
        threads: of every engine in `engines`.
        engines: the packed net first, then its peers.
        layers: parts of the packed net in order.
        peak: multiply-accumulates of one thread, in 10^9 a second.
        throughput: on several threads; None on a machine with one core.
        operations: totals of `counts.count`.
        file_bytes: of the file.
        float_bytes: of the trained net's parameters and norms as float32.
        load: processes that wanted a core when the measurement began, average of a minute; None on a
            system that does not tell.
        versions: of bitlens and what compiles its kernels.
        clock: that `engines` were timed by; `layers` and `throughput` are wall time.
        notes: what a reader of the figures should know.
    """

    file: str
    meta: dict[str, object]
    image: tuple[int, int, int]
    cpu: str
    kernel: str
    threads: int
    engines: tuple[Engine, ...]
    layers: tuple[LayerTime, ...]
    peak: Peak
    throughput: Throughput | None
    operations: dict[str, float]
    file_bytes: int
    float_bytes: int
    load: float | None
    versions: dict[str, str]
    clock: str
    notes: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write all figures as JSON.

        Raises:
            BitlensError: the file cannot be written.
        """
        try:
            path.write_text(json.dumps(asdict(self), indent=2, default=str) + "\n")
        except OSError as error:
            raise BitlensError(f"could not write {path}: {error.strerror}") from error


def bench(
    path: Path,
    *,
    peers: Sequence[str] = (),
    optional: bool = False,
    threads: int = 1,
    rounds: int = 50,
    clock: Literal["wall", "cpu"] = "wall",
) -> Bench:
    """Time a packed net and other engines on its float twin, in turns in this process.

    Args:
        path: a `.bits` file.
        peers: names of `peers.PEERS`.
        optional: leave out peers whose packages are missing, with a note, instead of raising.
        threads: of every engine; one image at a time.
        rounds: turns of every engine.
        clock: wall time, or processor time, which several threads would add up in.

    Raises:
        BitlensError: processor time of several threads, a damaged file, or a peer whose package is missing.
    """
    if clock == "cpu" and threads > 1:
        raise BitlensError(
            f"bench: clock='cpu' adds up {threads} threads; time one, or the wall clock"
        )
    load = load_average()
    graph = read(path)
    session = Session(graph, threads)
    image = random_image(graph, 1)
    loaded, missing = _load_peers(peers, graph, threads, optional=optional)
    candidates: dict[str, Callable[[], object]] = {PACKED: lambda: session(image)}
    candidates |= {name: peer.run for name, peer in loaded.items()}
    taken = interleave(candidates, rounds, clock=CLOCKS[clock])
    timings = {name: compare(seconds, taken[PACKED]) for name, seconds in taken.items()}
    own = Peer(
        run=candidates[PACKED],
        description=f"bitlens, {session.kernel}",
        version=bitlens.__version__,
    )
    peak = measure_peak()
    costs = count(graph)
    return Bench(
        file=str(path),
        meta=dict(graph.meta),
        image=graph.values[graph.input].shape,
        cpu=binding.get_host_cpu_name(),
        kernel=host().description,
        threads=threads,
        engines=tuple(
            Engine(name=name, description=p.description, version=p.version, timing=timings[name])
            for name, p in {PACKED: own, **loaded}.items()
        ),
        layers=_layers(session, costs, image, peak),
        peak=peak,
        throughput=_throughput(graph, image, rounds, timings[PACKED].milliseconds / 1e3),
        operations={
            "binary_macs": costs.total.binary,
            "int8_macs": costs.total.int8,
            "float_macs": costs.total.float,
            "ops": costs.total.ops,
        },
        file_bytes=path.stat().st_size,
        float_bytes=table(graph).float_bytes,
        load=load,
        versions={"bitlens": bitlens.__version__, "numba": numba.__version__},
        clock=clock,
        notes=_notes(missing, load, threads),
    )


def random_image(graph: Graph, images: int) -> npt.NDArray[Any]:
    """Images (n, c, h, w) as the packed net is fed: bytes, or floats where it was packed for floats."""
    h, w, c = graph.values[graph.input].shape
    draw = np.random.default_rng(0)
    if graph.values[graph.input].kind == "u8" or graph.mean is not None:
        return draw.integers(0, 256, (images, c, h, w), dtype=np.uint8)
    return draw.standard_normal((images, c, h, w), dtype=np.float32)


def _layers(
    session: Session, costs: Counts, image: npt.NDArray[Any], peak: Peak
) -> tuple[LayerTime, ...]:
    by_name: dict[str, list[Cost]] = {}
    for node in costs.nodes:
        by_name.setdefault(node.name, []).append(node.cost)
    layers = []
    for name, op, seconds in session.profile(image, PROFILE_REPEATS):
        # A copy made for a node has its name, and none of its products.
        own = [] if op in COPIES else by_name.pop(name, [])
        binary = sum(cost.binary for cost in own)
        int8 = sum(cost.int8 for cost in own)
        real = sum(cost.float for cost in own)
        least = binary / peak.popcount + int8 / peak.int8 + real / peak.float32
        layers.append(
            LayerTime(
                name=name,
                op=op,
                microseconds=1e6 * seconds,
                binary_macs=binary,
                int8_macs=int8,
                float_macs=real,
                share_of_peak=least / 1e9 / seconds if least else None,
            )
        )
    return tuple(layers)


def _load_peers(
    names: Sequence[str], graph: Graph, threads: int, *, optional: bool
) -> tuple[dict[str, Peer], list[str]]:
    """Peers ready to answer, and names of those left out."""
    loaded: dict[str, Peer] = {}
    missing = []
    for name in names:
        try:
            loaded[name] = prepare(name, graph, threads)
        except MissingPackage:
            if not optional:
                raise
            missing.append(name)
    return loaded, missing


def _notes(missing: Sequence[str], load: float | None, threads: int) -> tuple[str, ...]:
    notes = []
    if missing:
        notes.append(f"not installed: {', '.join(missing)} (pip install 'bitlens[bench]')")
    if load is not None and load > BUSY:
        notes.append(
            f"other programs were running (load average {load:.1f}): milliseconds may be too many, ratios "
            "are less affected; clock='cpu' leaves them out"
        )
    if threads > 1:
        notes.append(
            f"the packed net computes one image on one thread, its peers theirs on {threads}"
        )
    return tuple(notes)


def _throughput(
    graph: Graph, image: npt.NDArray[Any], rounds: int, seconds: float
) -> Throughput | None:
    """Two threads with a batch, by one thread with the same; None on one core.

    One image takes about `seconds`.
    """
    threads = min(2, cores())
    if threads == 1:
        return None
    share = max(1, min(SHARE, round(SHARE_SECONDS / seconds)))
    images = np.repeat(image, threads * share, axis=0)
    one, several = Session(graph, 1), Session(graph, threads)
    taken = interleave({"one": lambda: one(images), "several": lambda: several(images)}, rounds)
    speedup = compare(taken["one"], taken["several"])
    return Throughput(
        threads=threads,
        images=len(images),
        images_per_second=len(images) / statistics.median(taken["several"]),
        one_thread=len(images) / statistics.median(taken["one"]),
        speedup=speedup.ratio,
        low=speedup.low,
        high=speedup.high,
    )
