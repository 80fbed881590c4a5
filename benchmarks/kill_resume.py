"""Kill a training run at random moments, resume it, compare its weights bit for bit.

    python benchmarks/kill_resume.py [--kills 10] [--recipe demo-cmim] [--epochs 4] [--out runs/kill]

One run is left alone; it is the truth, and its duration is the span the moments are drawn from. Then,
once per kill, `bitlens train` is started in a new folder, killed with SIGKILL at its moment, resumed until
it is done, and its last.safetensors compared with the truth byte by byte. Every row of
results/kill_resume.csv is one kill: when (seconds after the start, as a share of the run), how many epochs
were done, whether the bits agree.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bitlens.training.run import RunFolder, read_json

COLUMNS = (
    *("kill", "moment_share", "moment_s", "epochs_done", "temporary_files", "identical"),
    *("recipe", "recipe_digest", "bitlens", "commit", "torch", "cpu", "threads"),
)


def command(options: argparse.Namespace, folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "bitlens", "train", options.recipe),
        *("--epochs", str(options.epochs), "--train-images", str(options.train_images)),
        *("--threads", str(options.threads), "--out", str(folder), "--resume"),
    ]


def train(options: argparse.Namespace, folder: Path, kill_after: float | None = None) -> bool:
    """Start or continue the run in `folder`; whether it came to its end before being killed."""
    running = subprocess.Popen(command(options, folder), stdout=subprocess.DEVNULL)
    try:
        code = running.wait(timeout=kill_after)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL)
        running.wait()
        return False
    if code:
        raise SystemExit(f"bitlens train ended with {code} in {folder}")
    return True


def epochs_done(run: RunFolder) -> int:
    return len(run.metrics_file.read_text().splitlines()) if run.metrics_file.exists() else 0


def measure(options: argparse.Namespace, number: int, share: float, span: float) -> dict:
    """One kill: a row of the table, without the columns all rows share."""
    run = RunFolder(options.out / f"kill{number}")
    while train(options, run.path, share * span):
        # This start was quicker than the truth's and is over: earlier, or it would be no kill.
        shutil.rmtree(run.path)
        share *= 0.8
    done, rubbish = epochs_done(run), len(list(run.path.glob(".*.tmp")))
    train(options, run.path)
    truth = RunFolder(options.out / "whole").last_file.read_bytes()
    clean = not list(run.path.glob(".*.tmp"))
    return {
        "kill": number,
        "moment_share": round(share, 4),
        "moment_s": round(share * span, 2),
        "epochs_done": done,
        "temporary_files": rubbish,
        "identical": run.last_file.read_bytes() == truth and clean,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--recipe", default="demo-cmim")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--train-images", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/kill"))
    parser.add_argument("--results", type=Path, default=Path("results/kill_resume.csv"))
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)

    begun = time.monotonic()
    train(options, options.out / "whole")
    span = time.monotonic() - begun
    whole = RunFolder(options.out / "whole")
    recipe, env = whole.recipe(), read_json(whole.env_file)
    shared = {"recipe": recipe.name, "recipe_digest": recipe.digest}
    shared |= {key: env[key] for key in ("bitlens", "commit", "torch", "cpu", "threads")}

    draw = random.Random(options.seed)
    rows = []
    for number in range(options.kills):
        rows.append(measure(options, number, draw.random(), span) | shared)
        print(
            "kill {kill}: at {moment_s} s, {epochs_done} epochs done, "
            "identical: {identical}".format_map(rows[-1]),
            flush=True,
        )
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with options.results.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    identical = sum(row["identical"] for row in rows)
    print(f"{identical} of {len(rows)} bit-identical")
    if identical < len(rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
