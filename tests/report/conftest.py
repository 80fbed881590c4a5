"""Run folders as training writes them, made up from a few numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

LAYERS = ("stem", *(f"layer{b}.{i}.conv" for b in (1, 2, 3) for i in (0, 1)), "head")


def layer_rows(names: Sequence[str] = LAYERS, *, binary: bool = True) -> list[dict[str, Any]]:
    """A layers.json in which all but the first and the last layer are 1-bit."""
    rows = []
    for position, name in enumerate(names):
        inner = 0 < position < len(names) - 1
        one_bit = binary and inner
        width = 16 * 2 ** (max(0, position - 1) // 2)
        latent = 4 * width * (10 if name == "head" else 9 * width)
        why = "kept float: " + ("float twin" if inner else "stem" if position == 0 else "head")
        rows.append(
            {
                "name": name,
                "kind": "linear" if name == "head" else "conv 3x3",
                "shape": [10, width] if name == "head" else [width, width, 3, 3],
                "bits": 1 if one_bit else 32,
                "why": "binary (bireal)" if one_bit else why,
                "macs": latent // 4 * (1 if name == "head" else 14 * 14),
                "bytes_latent": latent,
                "bytes_packed": latent // 32 + 4 * width if one_bit else latent,
            }
        )
    return rows


def metric_row(
    epoch: int,
    epochs: int,
    seed: int,
    accuracy: float,
    binary: Sequence[str],
    *,
    cmim: bool,
    valid: bool | None,
) -> dict[str, Any]:
    """One plausible row of metrics.jsonl, a fixed function of its arguments."""
    wobble = 0.006 * math.sin(7.0 * seed + 3.0 * epoch)
    grown = 1 - math.exp(-1.1 * epoch)
    reached = accuracy * grown + wobble * (1 - epoch / (epochs + 1))
    pace, level = (1.3, 0.97) if cmim else (1.7, 0.93)
    flips = {n: 0.06 / (1 + i) / epoch**pace * (1 + 9 * wobble) for i, n in enumerate(binary)}
    codes = {n: level - (0.05 / (1 + epoch) + 0.02) * i + wobble for i, n in enumerate(binary)}
    bounds = {n: (1.1 + 0.25 * i) * grown - 0.3 + 9 * wobble for i, n in enumerate(binary)}
    row: dict[str, Any] = {
        "epoch": epoch,
        "stage": 1,
        "step": 79 * epoch,
        "t": epoch / epochs,
        "lr": 0.002 * (1 - epoch / (epochs + 1)),
        "train_loss": 2.3 - 1.9 * reached,
        "train_accuracy": min(0.995, reached + 0.012 * epoch),
        "eval_split": "test",
        "eval_loss": 2.35 - 1.85 * reached,
        "eval_accuracy": reached,
        "flip_rate": sum(flips.values()) / len(flips) if flips else None,
        "flip_rate_layers": flips,
        "objective_loss": 5.0 - grown if cmim else None,
        "bound": sum(bounds.values()) / len(bounds) if cmim else None,
        "ceiling": math.log(128) if cmim else None,
        "bound_valid": valid if cmim else None,
        "bound_layers": bounds if cmim else {},
        "code_entropy": sum(codes.values()) / len(codes) if codes else None,
        "code_entropy_layers": codes,
        "seconds": 7.9 + wobble,
        "images_per_second": 1270.0,
    }
    return row


def make_run(
    folder: Path,
    *,
    name: str = "demo-cmim",
    seed: int = 0,
    accuracy: float = 0.8123,
    epochs: int = 6,
    done: int | None = None,
    objective: str = "cmim",
    method: str = "bireal",
    valid: bool | None = True,
    layers: Sequence[str] = LAYERS,
    recipe: dict[str, Any] | None = None,
) -> Path:
    """Write one run folder; with `done` below `epochs` the run is unfinished."""
    done = epochs if done is None else done
    cmim = objective == "cmim"
    rows = layer_rows(layers, binary=method != "float")
    binary = [row["name"] for row in rows if row["bits"] == 1]
    metrics = [
        metric_row(epoch, epochs, seed, accuracy, binary, cmim=cmim, valid=valid)
        for epoch in range(1, done + 1)
    ]
    content = {"schema": 1, "name": name, "seed": seed, "data": "fashion-mnist-mini"}
    content |= {"model": "resnet8-bireal-poolpad", "method": method, "objective": objective}
    content |= {"weight": 0.02 if cmim else 0.0, "epochs": epochs, "batch_size": 128, "lr": 0.002}
    content |= {"cmim": {"negatives": "batch", "temperature": 0.1}} if cmim else {}
    content |= recipe or {}
    env = {"bitlens": "0.1.0", "commit": "abc1234", "python": "3.11.7", "torch": "2.13.0+cpu"}
    env |= {"cpu": "AMD EPYC", "threads": 2, "processes": 1, "device": "cpu"}
    env |= {"started": f"2026-11-21T08:{seed:02d}:00+00:00"}
    folder.mkdir(parents=True)
    write_json(folder / "recipe.json", content)
    write_json(folder / "env.json", env)
    write_json(folder / "layers.json", rows)
    lines = "".join(json.dumps(row) + "\n" for row in metrics)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    if done == epochs:
        write_json(folder / "summary.json", summary(content, metrics, rows, accuracy, cmim=cmim))
    return folder


def summary(
    recipe: dict[str, Any],
    metrics: list[dict[str, Any]],
    layers: list[dict[str, Any]],
    accuracy: float,
    *,
    cmim: bool,
) -> dict[str, Any]:
    """The summary.json of a finished run."""
    last = metrics[-1]
    content = {"schema": 1, "complete": True, "name": recipe["name"], "seed": recipe["seed"]}
    content |= {"test_accuracy": accuracy, "test_loss": 0.55, "validation_accuracy": None}
    content |= {"epochs": recipe["epochs"], "seconds": sum(row["seconds"] for row in metrics)}
    content |= {"train_images": 10_112, "test_images": 2_000, "data_note": "made for tests"}
    content |= {"step_ms": 12.3, "parameters": sum(row["bytes_latent"] // 4 for row in layers)}
    content |= {key: sum(row[key] for row in layers) for key in ("bytes_latent", "bytes_packed")}
    content |= {key: last[key] for key in ("bound", "ceiling", "bound_valid")} if cmim else {}
    return content


def write_json(path: Path, content: Any) -> None:
    """Write one JSON file as training does."""
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def make_comparison(
    folder: Path,
    accuracies: dict[str, dict[int, float]],
    *,
    baseline: str | None = None,
    announced: dict[str, Sequence[str]] | None = None,
    **settings: dict[str, Any],
) -> Path:
    """Write a comparison with one run per variant and seed.

    Args:
        folder: where.
        accuracies: test accuracy by variant and seed.
        baseline: the first variant by default.
        announced: run folders that comparison.json names and nobody wrote.
        settings: arguments of `make_run` by variant, with - written as _.
    """
    runs: dict[str, list[str]] = {}
    for name, by_seed in accuracies.items():
        arguments = settings.get(name.replace("-", "_"), {})
        for seed, accuracy in by_seed.items():
            run = make_run(
                folder / name / f"seed{seed}", name=name, seed=seed, accuracy=accuracy, **arguments
            )
            runs.setdefault(name, []).append(run.relative_to(folder).as_posix())
    for name, paths in (announced or {}).items():
        runs.setdefault(name, []).extend(paths)
    content = {"schema": 1, "baseline": baseline or next(iter(runs)), "variants": list(runs)}
    write_json(folder / "comparison.json", content | {"runs": runs})
    return folder


def make_reading(
    entropy: float, information: float, flag: str = "reliable", **changes: Any
) -> dict[str, Any]:
    """One layer's reading at one step: 16 units, 1,024 samples of 4 classes."""
    content: dict[str, Any] = {"readout": "signs", "units": 16, "levels": 2, "samples": 1024}
    content |= {"classes": 4, "distinct": 300, "entropy": entropy, "information": information}
    content |= {"entropy_cwj": entropy + 0.25, "entropy_nsb": None, "entropy_low": entropy + 0.2}
    content |= {"entropy_high": entropy + 0.3, "information_cwj": information - 0.05}
    content |= {"information_nsb": information - 0.04, "information_low": information - 0.06}
    content |= {"information_high": information, "collision_entropy": None}
    content |= {"log2_samples": 10.0, "label_entropy": 2.0, "singleton_share": 0.03}
    content |= {"doubling_gain": 0.02, "permutation_z": 12.5, "reading": "sample", "flag": flag}
    return content | changes


def make_plane(
    folder: Path,
    rows: dict[int, dict[str, dict[str, Any]]],
    *,
    torn: str = "",
    **probe: Any,
) -> Path:
    """Write plane.jsonl: readings by step and layer; `torn` is left behind as its last line."""
    names = list(next(iter(rows.values())))
    header = {
        "schema": 1,
        "probe": {"split": "test", "samples": 1024, "digest": "d1", "classes": 4},
    }
    header["probe"] |= probe
    header |= {"layers": names, "readouts": {name: "signs" for name in names}}
    lines = [header]
    for step, layers in rows.items():
        row = {"schema": 1, "step": step, "epoch": step / 100, "seconds": 0.1, "layers": layers}
        lines.append(row)
    file = folder / "plane.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn, encoding="utf-8")
    return file


def make_paths(layers: int, seed: int = 0, *, first_saturated: int = 0) -> dict[int, dict]:
    """Rows of a plane in which every layer fits until step 30 and compresses from 100 on."""
    rows: dict[int, dict] = {}
    for step in (0, 1, 3, 10, 30, 100, 300, 1000):
        grown = min(1.0, math.log10(1 + step) / math.log10(31))
        fallen = max(0.0, math.log10((1 + step) / 101) / math.log10(1001 / 101))
        rows[step] = {}
        for i in range(layers):
            if i < first_saturated:
                rows[step][f"l{i}"] = make_reading(10.0, 2.0, "saturated", units=4096)
                continue
            x = 5 + 3 * grown - (2 + 0.1 * i) * fallen + 0.01 * seed
            rows[step][f"l{i}"] = make_reading(x, 0.4 + (1.4 - 0.05 * i) * grown + 0.002 * seed)
    return rows


@pytest.fixture
def plane_tools() -> SimpleNamespace:
    """Writers of plane.jsonl: reading, plane, paths."""
    return SimpleNamespace(reading=make_reading, plane=make_plane, paths=make_paths)


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder below the test's own folder: run_folder("a", seed=1, ...)."""
    return lambda place="run", **settings: make_run(tmp_path / place, **settings)


@pytest.fixture
def comparison_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a comparison below the test's own folder."""
    return lambda accuracies, **settings: make_comparison(
        tmp_path / "comparison", accuracies, **settings
    )
