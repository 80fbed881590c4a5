"""What packing changes in the answers of trained nets, on their whole test split.

    python benchmarks/engine_accuracy.py runs/demo/*/seed* --out results/engine_accuracy.csv

Packs every run folder as `bitlens pack` does and appends one row each: signs compared and differing,
accuracy in torch and packed, on how many images the first class is the same, and bytes. `--one-term` leaves
out the second int8 term of small stems, to show what it is worth.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rows import append_rows

from bitlens.cli import main as bitlens_command
from bitlens.engine.file.format import read
from bitlens.engine.freeze import quantize
from bitlens.engine.table import table

COLUMNS = (
    "data",
    "model",
    "method",
    "recipe",
    "seed",
    "float_layers",
    "images",
    "torch_accuracy",
    "packed_accuracy",
    "difference",
    "same_answer",
    "signs",
    "differing",
    "file_bytes",
    "float_bytes",
)


def measure(run: Path, float_layers: str) -> dict[str, object]:
    """One run folder packed, as a row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.bits"
        more = ["--float32"] if float_layers == "float32" else []
        code = bitlens_command(["pack", str(run), "-o", str(path), "--threads", "1", *more])
        if code:
            raise SystemExit(f"{run} could not be packed")
        graph = read(path)
        meta = graph.meta
        checked = meta["verified"]
        torchs, packed = float(meta["test_accuracy_torch"]), float(meta["test_accuracy"])
        return {
            "data": meta["data"],
            "model": meta["model"],
            "method": meta["method"],
            "recipe": meta["recipe"],
            "seed": meta["seed"],
            "float_layers": float_layers,
            "images": meta["test_images"],
            "torch_accuracy": f"{torchs:.4f}",
            "packed_accuracy": f"{packed:.4f}",
            "difference": f"{packed - torchs:+.4f}",
            "same_answer": meta["test_equal"],
            "signs": checked["codes"],
            "differing": checked["differing"],
            "file_bytes": path.stat().st_size,
            "float_bytes": table(graph).float_bytes,
        }


def main() -> None:
    """Measure the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--one-term", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/engine_accuracy.csv"))
    given = parser.parse_args()
    kind = "float32" if given.float32 else "int8"
    if given.one_term:
        quantize.REFINED = 0
        kind = "int8, one term"
    for run in given.runs:
        append_rows(given.out, COLUMNS, [measure(run, kind)])


if __name__ == "__main__":
    main()
