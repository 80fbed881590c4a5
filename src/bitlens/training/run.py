"""The run folder: the only thing training shares with reports and the engine.

recipe.json, env.json, layers.json, metrics.jsonl, state.pt, last.safetensors, best.safetensors,
plane.jsonl where the information plane is measured and, when the run is done, summary.json. An empty
.lock tells processes apart that would train here.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Collection, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import bitlens
from bitlens.errors import BitlensError
from bitlens.training.files import append_line, remove_leftovers, write_bytes, write_json
from bitlens.training.recipe import Recipe, differences


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.json"
        self.env_file = self.path / "env.json"
        self.layers_file = self.path / "layers.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.plane_file = self.path / "plane.jsonl"
        self.state_file = self.path / "state.pt"
        self.last_file = self.path / "last.safetensors"
        self.best_file = self.path / "best.safetensors"
        self.summary_file = self.path / "summary.json"
        self.lock_file = self.path / ".lock"

    @property
    def complete(self) -> bool:
        """Whether the run finished."""
        return self.summary_file.exists()

    def check_free(self) -> None:
        """Refuse to start a new run where there is one.

        Raises:
            BitlensError: a run is here already.
        """
        if self.recipe_file.exists():
            raise BitlensError(
                f"{self.path} already holds a run; continue it with --resume or choose another folder"
            )

    @contextmanager
    def locked(self) -> Generator[None]:
        """Be the only process that trains here; makes the folder if need be.

        The system lets go of the lock when the process ends, however it ends. What a killed process
        was in the middle of writing is removed.

        Raises:
            BitlensError: another process trains here, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = self.lock_file.open("a")
        except OSError as error:
            raise BitlensError(
                f"cannot use {self.path} as a run folder: {error.strerror}"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BitlensError(
                    f"another process is training in {self.path}; wait for it or choose another folder"
                ) from error
            remove_leftovers(self.path)
            yield

    def create(self, recipe: Recipe) -> None:
        """Start a new run here, in a folder that is `locked`.

        Raises:
            BitlensError: a run is here already, or the folder cannot be written.
        """
        self.check_free()
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
        """Add one line to metrics.jsonl; it is on the disk when this returns."""
        append_line(self.metrics_file, json.dumps(row) + "\n")

    def rewind_metrics(self, epoch: int) -> None:
        """Forget the lines of epochs after `epoch`: they were written, but not checkpointed.

        Raises:
            BitlensError: a line of epochs 1 to `epoch` is damaged or missing.
        """
        lines = self.metrics_file.read_text().splitlines() if self.metrics_file.exists() else []
        for expected in range(1, epoch + 1):
            if len(lines) < expected or _epoch_of(lines[expected - 1]) != expected:
                raise BitlensError(
                    f"{self.metrics_file}, line {expected}: damaged or missing, though the checkpoint "
                    f"covers {epoch} epochs; restore the file or start again in another folder"
                )
        write_bytes(self.metrics_file, "".join(f"{line}\n" for line in lines[:epoch]).encode())

    def metrics(self) -> list[dict[str, Any]]:
        """All rows of metrics.jsonl."""
        return [json.loads(line) for line in self.metrics_file.read_text().splitlines()]

    def save_weights(self, path: Path, net: nn.Module) -> None:
        """Atomically write a net's parameters and buffers as safetensors, shared ones once."""
        # Not safetensors' own file writer: it makes files that only the owner may read, and a
        # full disk would surface as an error of its own kind.
        kept: dict[Any, str] = {}
        also: dict[str, str] = {}
        tensors: dict[str, Tensor] = {}
        for name, tensor in net.state_dict().items():
            storage = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            if tensor.numel() and storage in kept:
                also[name] = kept[storage]
                continue
            kept[storage] = name
            tensors[name] = tensor.contiguous()
        write_bytes(path, save(tensors, metadata=also or None))


def load_weights(path: Path, net: nn.Module, *, optional: Collection[str] = ()) -> None:
    """Fill `net` from a safetensors file, every tensor named and shaped as expected.

    Args:
        path: the file.
        net: changed in place, and only when everything fits.
        optional: names that may be absent; the net keeps its own values there.

    Raises:
        BitlensError: missing, damaged, or of another net: names the tensors that are missing, that
            the net does not have, and whose shapes differ.
    """
    try:
        with safe_open(str(path), "pt") as file:
            given = {name: file.get_tensor(name) for name in file.keys()}
            shared = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise BitlensError(f"{path}: cannot load these weights: {error}") from error
    # A tensor that the net has under two names is written once.
    given |= {name: given[kept] for name, kept in shared.items() if kept in given}
    expected = net.state_dict()
    wrong = {
        "missing": [n for n in expected if n not in given and n not in optional],
        "unexpected": [n for n in given if n not in expected],
        "of another shape": [
            f"{n} {_shape(given[n])} instead of {_shape(t)}"
            for n, t in expected.items()
            if n in given and given[n].shape != t.shape
        ],
    }
    if any(wrong.values()):
        told = "; ".join(
            f"{len(found)} {what}: {_few(found)}" for what, found in wrong.items() if found
        )
        raise BitlensError(f"{path}: cannot load these weights into the net; tensors {told}")
    net.load_state_dict(given, strict=False)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "single number"


def _few(names: list[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _epoch_of(line: str) -> int | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row.get("epoch") if isinstance(row, dict) else None


def read_json(path: Path) -> Any:
    """Parse a JSON file; a BitlensError names it when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BitlensError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BitlensError(f"{path}: not text (byte {error.start}); the file is damaged") from error
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


@cache
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


# Asked now: the checkout may move on while this process runs the code that it has read.
_commit()
