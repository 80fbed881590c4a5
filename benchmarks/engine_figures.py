"""ResNet-18 on 224x224 images: packed, and in ONNX Runtime and OpenVINO, float32 and int8.

    python benchmarks/engine_figures.py [--rounds 60] [--clock cpu] [--figures latency,throughput]

The other engines run the packed net's own topology and the plain ResNet-18 of He et al. with ReLU, which
suits them better. Everything answers one image at a time on one thread, in turns in one process, and
ratios are medians over rounds of times taken in the same round. Then the same with the kernels compiled
for AVX2 only, images a second on two threads, and file size, memory and start of a fresh process. Weights
are random, batch norms have random gains and shifts and statistics of random images: no time depends on
them. `--clock cpu` counts processor time, for a machine that has other work. Rows are appended to
results/engine.csv. Needs the extra [bench].
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rows import append_rows, timing_row
from torch import nn

import bitlens
from bitlens.data.normalize import normalize
from bitlens.engine.bench.peers import Peer, prepare
from bitlens.engine.bench.timing import CLOCKS, compare, interleave
from bitlens.engine.file.format import read
from bitlens.models import FLOAT, create
from bitlens.training.run import environment

RESULTS = Path(__file__).parent.parent / "results" / "engine.csv"
COLUMNS = (
    "figure", "net", "engine", "runs", "milliseconds", "p10", "p90", "slower_than_packed", "low", "high",
    "quantity", "value", "unit", "threads", "speedup", "kernel", "rounds", "clock", "load", "cpu", "torch",
    "onnxruntime", "openvino", "nncf", "numba", "bitlens", "commit", "started",
)  # fmt: skip
BINARY, PLAIN = "resnet18-imagenet-bireal-fp1x1", "resnet18-imagenet-normal-fp1x1"
PEERS = ("onnxruntime", "onnxruntime-int8", "openvino", "openvino-int8")
SIZE, CLASSES = 224, 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Row = dict[str, object]


def random_net(model: str, method: str) -> nn.Module:
    """A net in evaluation mode whose batch norms do something."""
    net = create(model, method=method, classes=CLASSES, channels=3, image_size=SIZE)
    draw = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=draw)
            nn.init.normal_(module.bias, 0, 0.1, generator=draw)
        else:
            # Shifts and slopes differ from channel to channel in a trained net; equal ones share bytes.
            for own in module.parameters(recurse=False):
                if own.dim() == 1:
                    own.data += 0.05 * torch.randn(own.shape, generator=draw)
    bitlens.recalibrate(net, [random_images(4)])
    return net.eval()


def random_images(count: int) -> torch.Tensor:
    """Random bytes (n, 3, 224, 224), normalised."""
    draw = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=draw, dtype=torch.uint8)
    return normalize(pixels, MEAN, STD)


def pack_all(folder: Path, methods: Sequence[str]) -> None:
    """Write METHOD.bits for every method and he.bits, the plain float net, which only peers run."""
    images = random_images(4)
    for method in methods:
        packed = bitlens.pack(random_net(BINARY, method), images[:2], [images], mean=MEAN, std=STD)
        print(f"{method}: {packed.verification}", flush=True)
        packed.save(folder / f"{method}.bits")
    plain = bitlens.pack(random_net(PLAIN, FLOAT), images[:2], [images], mean=MEAN, std=STD)
    plain.save(folder / "he.bits")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something timed, and the packed net it is compared with."""

    net: str
    engine: str
    runs: str
    reference: str
    run: Callable[[], object]


def candidates(folder: Path, methods: Sequence[str]) -> dict[str, Candidate]:
    """Packed nets, peers on their topology, peers on the plain net."""
    image = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), dtype=np.uint8)
    found = {}
    for method in methods:
        session = bitlens.load(folder / f"{method}.bits", threads=1)
        found[method] = Candidate(
            net=f"resnet18-{method}",
            engine="bitlens",
            runs=f"packed, {session.kernel}",
            reference=method,
            run=lambda session=session: session(image),
        )
    nets = {method: (f"resnet18-{method}", "same topology", method) for method in methods}
    nets["he"] = ("resnet18-he", "plain, ReLU", methods[0])
    for file, (net, runs, reference) in nets.items():
        graph = read(folder / f"{file}.bits")
        for name in PEERS:
            peer: Peer = prepare(name, graph, 1)
            arithmetic = "int8" if name.endswith("int8") else "float32"
            found[f"{file} {name}"] = Candidate(
                net=net,
                engine=name.removesuffix("-int8"),
                runs=f"{runs}, {arithmetic}",
                reference=reference,
                run=peer.run,
            )
    return found


def latency(folder: Path, given: argparse.Namespace, figure: str) -> list[Row]:
    """One image, one thread, all in turns."""
    methods = given.methods.split(",")
    found = candidates(folder, methods)
    load = os.getloadavg()[0]
    runs = {name: candidate.run for name, candidate in found.items()}
    taken = interleave(runs, given.rounds, clock=CLOCKS[given.clock])
    rows = []
    for name, candidate in found.items():
        timing = compare(taken[name], taken[candidate.reference])
        print(f"{figure}  {candidate.net:24s} {candidate.engine:12s} {candidate.runs:28s}", end="")
        print(f" {timing.milliseconds:7.2f} ms  {timing.ratio:6.2f}", flush=True)
        rows.append(
            {
                "figure": figure,
                "net": candidate.net,
                "engine": candidate.engine,
                "runs": candidate.runs,
                "threads": 1,
                "kernel": bitlens.load(folder / f"{methods[0]}.bits").kernel,
                "clock": given.clock,
                "load": round(load, 2),
                **timing_row(timing),
            }
        )
    return rows


def throughput(folder: Path, methods: Sequence[str], rounds: int, threads: int = 2) -> list[Row]:
    """As many images as threads, by the time one thread takes for the same images."""
    images = np.random.default_rng(0).integers(0, 256, (threads, 3, SIZE, SIZE), dtype=np.uint8)
    rows = []
    for method in methods:
        path = folder / f"{method}.bits"
        one, several = bitlens.load(path, threads=1), bitlens.load(path, threads=threads)
        taken = interleave(
            {"one": lambda one=one: one(images), "several": lambda s=several: s(images)}, rounds
        )
        for label, count in (("one", 1), ("several", threads)):
            speed = compare(taken["one"], taken[label])
            seconds = statistics.median(taken[label])
            rows.append(
                {
                    "figure": "throughput",
                    "net": f"resnet18-{method}",
                    "engine": "bitlens",
                    "runs": f"{threads} images at once",
                    "milliseconds": round(1e3 * seconds, 3),
                    "threads": count,
                    "kernel": one.kernel,
                    "rounds": rounds,
                    "clock": "wall",
                    "quantity": "images a second",
                    "value": round(threads / seconds),
                    "unit": "1/s",
                    "speedup": round(speed.ratio, 2),
                    "low": round(speed.low, 2),
                    "high": round(speed.high, 2),
                }
            )
            print(f"throughput  {method}, {count} threads: {threads / seconds:.0f} images/s")
    return rows


PEAK = "print(next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM')))"
PACKED_START = (
    "import sys, numpy as np, bitlens; s = bitlens.load(sys.argv[1]); "
    f"s(np.zeros((1, 3, {SIZE}, {SIZE}), np.uint8)); {PEAK}"
)
ONNX_START = (
    "import sys, numpy as np, onnxruntime as o; n = o.SessionOptions(); n.intra_op_num_threads = 1; "
    "s = o.InferenceSession(sys.argv[1], n, providers=['CPUExecutionProvider']); "
    f"s.run(None, {{'image': np.zeros((1, 3, {SIZE}, {SIZE}), np.float32)}}); {PEAK}"
)
IMPORT_ONLY = f"import numpy; {PEAK}"


def start(program: str, file: Path, repeats: int = 7) -> tuple[float, int]:
    """Median seconds of a fresh process that answers once, and the most memory it held, bytes.

    The first process fills caches, that of compiled kernels among them, and does not count.
    """
    taken, peaks = [], []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True
        )
        taken.append(time.perf_counter() - begun)
        peaks.append(1024 * int(done.stdout))
    return statistics.median(taken[1:]), max(peaks[1:])


def footprint(folder: Path, methods: Sequence[str]) -> list[Row]:
    """File size, peak memory and time of a fresh process that answers once."""
    from bitlens.engine.bench.export_onnx import save_onnx
    from bitlens.engine.bench.peers.onnxruntime_int8 import quantized

    rows: list[Row] = []

    def add(net: str, engine: str, file: Path, program: str) -> None:
        seconds, peak = start(program, file)
        size = file.stat().st_size / 1e6 if file.is_file() else None
        found = (
            ("file", size, "MB"),
            ("most memory of a process", peak / 1e6, "MB"),
            ("a process with one answer", seconds, "s"),
        )
        for quantity, value, unit in found:
            if value is None:
                continue
            print(
                f"footprint  {net:24s} {engine:24s} {quantity:28s} {value:8.2f} {unit}", flush=True
            )
            rows.append(
                {
                    "figure": "footprint",
                    "net": net,
                    "engine": engine,
                    "threads": 1,
                    "quantity": quantity,
                    "value": round(value, 2),
                    "unit": unit,
                }
            )

    add("none", "python and numpy alone", folder, IMPORT_ONLY)
    for method in methods:
        path = folder / f"{method}.bits"
        add(f"resnet18-{method}", "bitlens", path, PACKED_START)
    graph, net = read(folder / f"{methods[0]}.bits"), f"resnet18-{methods[0]}"
    save_onnx(graph, folder / "float.onnx")
    (folder / "int8.onnx").write_bytes(quantized(graph))
    add(net, "onnxruntime, float32", folder / "float.onnx", ONNX_START)
    add(net, "onnxruntime, int8", folder / "int8.onnx", ONNX_START)
    return rows


def place() -> Row:
    """Machine and versions."""
    found = environment(torch.device("cpu"), 1)
    packages = ("onnxruntime", "openvino", "nncf", "numba")
    kept = {key: found[key] for key in ("cpu", "torch", "bitlens", "commit", "started")}
    return {**kept, **{name: version(name) for name in packages}}


def forced(folder: Path, given: argparse.Namespace) -> None:
    """The latency figures with kernels for AVX2, in a process whose Numba is told so."""
    command = [sys.executable, __file__, "--rounds", str(given.rounds), "--methods", given.methods]
    command += ["--out", str(given.out), "--clock", given.clock, "--packed", str(folder)]
    target = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
    subprocess.run(command, env={**os.environ, **target}, check=True)


def keep(rows: list[Row], out: Path) -> None:
    """Append rows with machine and versions."""
    append_rows(out, COLUMNS, [{**row, **place()} for row in rows])


def main() -> None:
    """Measure, print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--methods", default="bireal,reactnet")
    parser.add_argument("--figures", default="latency,throughput,footprint,avx2")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--packed", type=Path, help="folder of packed nets: AVX2 figures only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    methods, figures = given.methods.split(","), given.figures.split(",")
    if given.packed:
        keep(latency(given.packed, given, "avx2"), given.out)
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        pack_all(folder, methods)
        if "latency" in figures:
            keep(latency(folder, given, "latency"), given.out)
        if "throughput" in figures:
            keep(throughput(folder, methods, given.rounds), given.out)
        if "footprint" in figures:
            keep(footprint(folder, methods), given.out)
        if "avx2" in figures:
            forced(folder, given)


if __name__ == "__main__":
    main()
