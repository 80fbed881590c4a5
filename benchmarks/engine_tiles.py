"""Speed of the engine's tiles: share of this CPU's own peak, layer by layer.

    python benchmarks/engine_tiles.py [--rounds 60] [--only 56x56x64]

Layers are the convolutions of a binary ResNet-18 at 224x224 pixels, batch 1, one thread, and its 8-bit
stem. `raw` converts the accumulators and stores them; `fused` multiplies, multiplies and adds, adds
what lies at the output, takes PReLU, stores and signs. The peak is measured on registers alone. Layers
and peak take turns of a fraction of a millisecond; a share is the median over the rounds of the layer's
rate by the rate of the peak in the same round. Rows are appended to results/engine_tiles.csv.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rows import append_rows

from bitlens import __version__
from bitlens.engine.kernels import peak, rows
from bitlens.engine.kernels.cache import kernels
from bitlens.engine.kernels.isa import host

RESULTS = Path(__file__).parent.parent / "results" / "engine_tiles.csv"
COLUMNS = (
    "layer", "epilogue", "microseconds", "gmacs", "peak_gmacs", "share", "rounds", "kernel", "cpu",
    "bitlens", "started",
)  # fmt: skip
RAW = (rows.STEP_STORE,)
FUSED = (
    rows.STEP_MULTIPLY, rows.STEP_FMA, rows.STEP_ADD_VALUE, rows.STEP_PRELU, rows.STEP_STORE,
    rows.STEP_SIGN,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution: output size, channels in and out, kernel and stride."""

    opcode: int
    size: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1

    @property
    def name(self) -> str:
        kind = "int8" if self.opcode == rows.DOT else "binary"
        return f"{kind} {self.size}x{self.size} {self.inputs}->{self.outputs}/s{self.stride}"

    @property
    def terms(self) -> int:
        """Words of a window: for bytes a kernel row is one run, padded to whole words."""
        if self.opcode == rows.DOT:
            return self.kernel * -(-self.kernel * self.inputs // 4)
        return self.kernel * self.kernel * -(-self.inputs // 32)

    @property
    def macs(self) -> int:
        return self.size**2 * self.outputs * self.inputs * self.kernel**2


LAYERS = (
    *(Layer(opcode=rows.POPCOUNT, size=448 * 4 // (c // 2), inputs=c, outputs=c)
      for c in (64, 128, 256, 512)),
    *(Layer(opcode=rows.POPCOUNT, size=448 * 4 // c, inputs=c, outputs=2 * c, stride=2)
      for c in (64, 128, 256)),
    Layer(opcode=rows.DOT, size=112, inputs=3, outputs=64, kernel=7, stride=2),
)  # fmt: skip


class Arena:
    """Keeps the arrays that a row points to."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []
        self.random = np.random.default_rng(0)

    def keep(self, values: np.ndarray) -> int:
        """Address of an array, at the beginning of a cache line."""
        room = np.zeros(values.nbytes + 192, np.uint8)
        begin = -room.ctypes.data % 64
        room[begin : begin + values.nbytes] = values.reshape(-1).view(np.uint8)
        self.kept.append(room)
        return room.ctypes.data + begin

    def floats(self, *shape: int) -> int:
        return self.keep(self.random.normal(0, 1, shape).astype(np.float32))


def make_row(layer: Layer, kinds: tuple[int, ...]) -> tuple[Callable[[], None], Arena]:
    """A call that computes the layer, and what it must keep alive."""
    arena = Arena()
    dot = layer.opcode == rows.DOT
    pixel = layer.inputs if dot else 4 * -(-layer.inputs // 32)
    side = (layer.size - 1) * layer.stride + layer.kernel
    run = layer.terms // layer.kernel
    offsets = [y * side * pixel + 4 * k for y in range(layer.kernel) for k in range(run)]
    blocks = -(-layer.outputs // 64)
    weights = arena.random.integers(0, 1 << 32, (blocks, layer.terms, 64), dtype=np.uint32)
    zeros = arena.keep(np.zeros(max(layer.size, 1), np.int64))
    data = arena.random.integers(0, 256, side * side * pixel, dtype=np.uint8)
    place = arena.floats(layer.size, layer.size, layer.outputs)
    row = np.zeros(rows.WIDTH, np.int64)
    fields = {
        rows.OPCODE: layer.opcode,
        rows.INPUT: arena.keep(data),
        rows.INPUT_ROW: layer.stride * side * pixel,
        rows.INPUT_PIXEL: layer.stride * pixel,
        rows.HEIGHT: layer.size,
        rows.OUT_WIDTH: layer.size,
        rows.GROUPS: 1,
        rows.GROUP_CHANNELS: layer.outputs,
        rows.TERMS: layer.terms,
        rows.OFFSETS: arena.keep(np.array(offsets, np.int64)),
        rows.WEIGHTS: arena.keep(weights),
        rows.BLOCK_STEP: weights[0].nbytes,
        rows.GAIN: arena.keep(np.full(layer.outputs, 2, np.float32)),
        rows.OFFSET: arena.keep(
            np.full(layer.outputs, 9 * layer.inputs // 2, np.float32 if dot else np.int32)
        ),
        rows.CLASS_ROW: zeros,
        rows.CLASS_COLUMN: zeros,
        rows.STEPS: arena.keep(np.stack([make_step(arena, layer, k, place) for k in kinds])),
        rows.STEP_COUNT: len(kinds),
    }
    row[list(fields)] = list(fields.values())
    address, run = arena.keep(row), kernels().run
    return (lambda: run(address, 1)), arena


def make_step(arena: Arena, layer: Layer, kind: int, place: int) -> np.ndarray:
    step = np.zeros(rows.STEP_WIDTH, np.int64)
    step[rows.KIND] = kind
    if kind in (rows.STEP_ADD_VALUE, rows.STEP_STORE):
        step[rows.PLACE : rows.LIMIT + 1] = (
            place, layer.size * layer.outputs * 4, layer.outputs * 4, layer.outputs
        )  # fmt: skip
    elif kind == rows.STEP_SIGN:
        step[rows.A] = arena.floats(layer.outputs)
        step[rows.B] = arena.keep(np.zeros(layer.outputs // 16, np.uint16))
        pixel = layer.outputs // 8
        bits = np.zeros((layer.size + 2) ** 2 * pixel, np.uint8)
        step[rows.PLACE : rows.PLACE_PIXEL + 1] = (
            arena.keep(bits), (layer.size + 2) * pixel, pixel
        )  # fmt: skip
    else:
        step[rows.A], step[rows.B] = arena.floats(layer.outputs), arena.floats(layer.outputs)
    return step


def timed(call: Callable[[], None], repeats: int) -> float:
    """Seconds of a call, its buffers in the caches as after an untimed one."""
    call()
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begin) / repeats


def measure(layers: tuple[Layer, ...], rounds: int) -> list[dict[str, object]]:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    calls = {}
    for layer in layers:
        for epilogue, kinds in (("raw", RAW), ("fused", FUSED)):
            calls[layer, epilogue] = make_row(layer, kinds)
    repeats = {key: max(2, int(3e-4 / timed(call, 3))) for key, (call, _) in calls.items()}
    seconds: dict[tuple[Layer, str], list[float]] = {key: [] for key in calls}
    peaks: dict[int, list[float]] = {rows.POPCOUNT: [], rows.DOT: []}
    for _ in range(rounds):
        found = peak.measure_peak(1e-3)
        peaks[rows.POPCOUNT].append(found.popcount)
        peaks[rows.DOT].append(found.int8)
        for key, (call, _) in calls.items():
            seconds[key].append(timed(call, repeats[key]))
    made = []
    for (layer, epilogue), times in seconds.items():
        rates = [layer.macs / s / 1e9 for s in times]
        best = peaks[layer.opcode]
        shares = [rate / top for rate, top in zip(rates, best, strict=True)]
        made.append(
            {
                "layer": layer.name,
                "epilogue": epilogue,
                "rounds": rounds,
                "microseconds": round(statistics.median(times) * 1e6, 2),
                "gmacs": round(statistics.median(rates), 1),
                "peak_gmacs": round(statistics.median(best), 1),
                "share": round(statistics.median(shares), 4),
                "kernel": host().name,
                "cpu": cpu_name(),
                "bitlens": __version__,
                "started": started,
            }
        )
    return made


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--only", default="", help="part of a layer's name")
    parser.add_argument("--dry", action="store_true", help="append nothing")
    options = parser.parse_args()
    chosen = tuple(layer for layer in LAYERS if options.only in layer.name)
    found = measure(chosen, options.rounds)
    for row in found:
        print(
            f"{row['layer']:28}{row['epilogue']:7}{row['microseconds']:9.2f} us"
            f"{row['gmacs']:9.1f} GMAC/s {row['share']:7.1%} of {row['peak_gmacs']}"
        )
    if not options.dry:
        append_rows(RESULTS, COLUMNS, found)


if __name__ == "__main__":
    main()
