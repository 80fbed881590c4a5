"""The run folder: the only thing training shares with reports and the engine.

recipe.json, env.json, layers.json, metrics.jsonl, state.pt, last.safetensors, best.safetensors and,
when the run is done, summary.json.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

import bitlens
from bitlens.errors import BitlensError
from bitlens.training.files import write_atomically, write_bytes, write_json
from bitlens.training.recipe import Recipe, differences


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.json"
        self.env_file = self.path / "env.json"
        self.layers_file = self.path / "layers.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.state_file = self.path / "state.pt"
        self.last_file = self.path / "last.safetensors"
        self.best_file = self.path / "best.safetensors"
        self.summary_file = self.path / "summary.json"

    @property
    def complete(self) -> bool:
        """Whether the run finished."""
        return self.summary_file.exists()

    def create(self, recipe: Recipe) -> None:
        """Start a new run here.

        Raises:
            BitlensError: a run is here already, or the folder cannot be made.
        """
        if self.recipe_file.exists():
            raise BitlensError(
                f"{self.path} already holds a run; continue it with --resume or choose another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BitlensError(
                f"cannot make the run folder {self.path}: {error.strerror}"
            ) from error
        write_json(self.recipe_file, recipe.to_json())

    def recipe(self) -> Recipe:
        """The recipe of the run that is here.

        Raises:
            BitlensError: no run here, or a damaged recipe.
        """
        if not self.recipe_file.exists():
            raise BitlensError(f"{self.path} holds no run (recipe.json is missing)")
        return Recipe.from_json(read_json(self.recipe_file), source=str(self.recipe_file))

    def check_same(self, recipe: Recipe) -> None:
        """Refuse to continue a run of another recipe.

        Raises:
            BitlensError: lists the fields that differ.
        """
        changed = differences(self.recipe(), recipe)
        if changed:
            raise BitlensError(
                f"{self.path} holds a run of another recipe ({'; '.join(changed)}); "
                "resume with the original recipe or choose another folder"
            )

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        try:
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise BitlensError(f"could not write {self.metrics_file}: {error.strerror}") from error

    def rewind_metrics(self, epoch: int) -> None:
        """Forget the lines of epochs after `epoch`: they were written, but not checkpointed."""
        if not self.metrics_file.exists():
            return
        kept = []
        for line in self.metrics_file.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if row["epoch"] > epoch:
                break
            kept.append(line + "\n")
        write_bytes(self.metrics_file, "".join(kept).encode())

    def metrics(self) -> list[dict[str, Any]]:
        """All rows of metrics.jsonl."""
        return [json.loads(line) for line in self.metrics_file.read_text().splitlines()]

    def save_weights(self, path: Path, net: nn.Module) -> None:
        """Write a net's parameters and buffers as safetensors."""
        write_atomically(path, lambda target: save_model(net, str(target)))


def load_weights(path: Path, net: nn.Module) -> None:
    """Fill `net` from a safetensors file, every tensor named and shaped as expected.

    Raises:
        BitlensError: missing, damaged, or of another net.
    """
    try:
        load_model(net, str(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise BitlensError(f"{path}: cannot load these weights into the net: {first}") from error


def read_json(path: Path) -> Any:
    """Parse a JSON file; a BitlensError names it when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise BitlensError(f"cannot read {path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise BitlensError(f"{path}, line {error.lineno}: damaged JSON ({error.msg})") from error


def environment(device: torch.device, processes: int) -> dict[str, Any]:
    """What a number depends on besides its recipe: versions, machine, threads."""
    return {
        "bitlens": bitlens.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cpu_name() -> str:
    """The processor's model name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Short commit of the checkout that bitlens runs from, "+" when it has local changes."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=9"]
    try:
        found = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
