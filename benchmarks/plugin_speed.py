"""Plug-in H(T) and I(T;Y) of a wide layer: packed and hashed, or by unique rows.

    python benchmarks/plugin_speed.py [--samples 60000] [--units 1024] [--repeats 15]

Three ways to the same two numbers: from bits (a byte a unit: pack, hash, tabulate), from packed words
(hash, tabulate), and from int64 rows seen as one opaque item each, given to np.unique for all samples and
for each label, as information-plane code usually has it. The ways take turns, one thread, and their results
must agree. Wall times are the median and the best, CPU times the median; the ratio is of best times, which
a busy machine disturbs least. Peak memory is what Python and numpy allocate beyond the input, traced in a
process of its own. Rows are appended to results/plugin_speed.csv.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rows import append_rows

from bitlens.information.codes import hash_rows, pack_rows
from bitlens.information.contingency import tabulate
from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import plugin
from bitlens.information.mutual import plugin_information
from bitlens.training.run import environment

RESULTS = Path(__file__).parent.parent / "results" / "plugin_speed.csv"
COLUMNS = (
    "codes", "input", "samples", "units", "labels", "distinct", "ms", "best_ms", "cpu_ms",
    "unique_rows_ratio", "peak_mb", "entropy", "information", "repeats", "seed", "threads", "cpu",
    "numpy", "bitlens", "commit", "started",
)  # fmt: skip
LABELS = 10
POOL = 3000
WAYS = ("bits", "words", "rows")
Bits = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def make(codes: str, samples: int, units: int, seed: int) -> tuple[Bits, Labels]:
    """Random bits, all rows distinct or drawn from a pool of 3,000, and random labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, LABELS, samples)
    if codes == "distinct":
        return draw.integers(0, 2, (samples, units), dtype=np.uint8), labels
    pool = draw.integers(0, 2, (POOL, units), dtype=np.uint8)
    return pool[draw.integers(0, POOL, samples)], labels


def by_hash(codes: npt.NDArray[Any], labels: Labels) -> tuple[float, float]:
    """H(T) and I(T;Y) in bits from hashes or unpacked booleans."""
    table = tabulate(codes, labels)
    return plugin.estimate(Fingerprint.of(table.codes)), plugin_information(table)


def by_unique_rows(rows: Labels, labels: Labels) -> tuple[float, float]:
    """The same by unique rows of integers: once for all, and once for each label."""

    def entropy(part: Labels) -> float:
        items = np.ascontiguousarray(part).view(np.dtype((np.void, part.itemsize * part.shape[1])))
        counts = np.unique(items.reshape(-1), return_inverse=True, return_counts=True)[2]
        chance = counts / len(part)
        return float(-(chance @ np.log2(chance)))

    whole = entropy(rows)
    inside = [(labels == label).mean() * entropy(rows[labels == label]) for label in set(labels)]
    return whole, float(whole - sum(inside))


def way(name: str, bits: Bits, labels: Labels) -> Callable[[], tuple[float, float]]:
    """The measurement, with its input at hand."""
    if name == "bits":
        return lambda: by_hash(bits.view(np.bool_), labels)
    if name == "words":
        words = pack_rows(bits)
        return lambda: by_hash(hash_rows(words), labels)
    rows = bits.astype(np.int64)
    return lambda: by_unique_rows(rows, labels)


def peak_mb(name: str, codes: str, samples: int, units: int, seed: int) -> float:
    """Most that was allocated at a time beyond the input, in MB, in a fresh process."""
    command = [sys.executable, __file__, "--peak", name, codes]
    command += ["--samples", str(samples), "--units", str(units), "--seed", str(seed)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def traced_peak(name: str, codes: str, samples: int, units: int, seed: int) -> float:
    """`peak_mb` of this process; the first run, untraced, fills caches and imports."""
    measure = way(name, *make(codes, samples, units, seed))
    if name != "rows":
        measure()
    tracemalloc.start()
    measure()
    return tracemalloc.get_traced_memory()[1] / 1e6


def timed(codes: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """All ways on the same codes, in turns; the slow one every fifth turn."""
    bits, labels = make(codes, given.samples, given.units, given.seed)
    measures = {name: way(name, bits, labels) for name in WAYS}
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    worked: dict[str, list[float]] = {name: [] for name in WAYS}
    results: dict[str, tuple[float, float]] = {}
    for turn in range(given.repeats):
        for name in WAYS if turn % 5 == 0 else WAYS[:2]:
            begin, work = time.perf_counter(), time.process_time()
            results[name] = measures[name]()
            taken[name].append((time.perf_counter() - begin) * 1e3)
            worked[name].append((time.process_time() - work) * 1e3)
    for name in WAYS[:2]:
        np.testing.assert_allclose(results[name], results["rows"], rtol=0, atol=1e-9)
    best = {name: min(times) for name, times in taken.items()}
    return [
        {
            "codes": codes,
            "input": name,
            "samples": given.samples,
            "units": given.units,
            "labels": LABELS,
            "distinct": len(np.unique(hash_rows(pack_rows(bits)))),
            "ms": round(statistics.median(taken[name]), 3),
            "best_ms": round(best[name], 3),
            "cpu_ms": round(statistics.median(worked[name]), 3),
            "unique_rows_ratio": round(best["rows"] / best[name], 1),
            "peak_mb": round(peak_mb(name, codes, given.samples, given.units, given.seed), 2),
            "entropy": round(results[name][0], 6),
            "information": round(results[name][1], 6),
            "repeats": len(taken[name]),
            "seed": given.seed,
        }
        for name in WAYS
    ]


def main() -> None:
    """Measure, print a table and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak", nargs=2, metavar=("INPUT", "CODES"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.peak:
        print(traced_peak(*given.peak, given.samples, given.units, given.seed))
        return
    torch.set_num_threads(1)
    place = environment(torch.device("cpu"), 1)
    place = {name: place[name] for name in ("threads", "cpu", "bitlens", "commit", "started")}
    place["numpy"] = np.__version__
    rows = [row | place for codes in ("pool", "distinct") for row in timed(codes, given)]
    for row in rows:
        print(
            f"{row['codes']:9s} {row['distinct']:6d} distinct  from {row['input']:6s} {row['ms']:9.2f} ms"
            f"  best {row['best_ms']:8.2f}  CPU {row['cpu_ms']:8.2f}"
            f"  {row['unique_rows_ratio']:7.1f} x  {row['peak_mb']:8.2f} MB"
        )
    append_rows(given.out, COLUMNS, rows)


if __name__ == "__main__":
    main()
