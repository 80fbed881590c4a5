"""Machine code of the kernels kept on disk, so that only the first process on a machine compiles them.

One object file for each target of the compiler lies in a folder named after a digest of all sources of the
kernels and of the compiler's version: other sources, other folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: who starts at the same time compiles too.
    fcntl = None

from bitlens.engine.kernels.compile import Code, Run, build, link, target

KEPT = 3
"""Folders, each of one version of the kernels, that stay; those not used for longest are removed."""

_log = logging.getLogger("bitlens.engine")
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The walker of programs, ready to run.

    Attributes:
        run: runs a program.
        name: instruction set: "avx512-vpopcntdq", "avx2", "neon" or "generic".
        file: where the machine code is kept, None where it cannot be.
        compiled: whether this process compiled it, rather than reading it from `file`.
        seconds: how long getting it took.
    """

    run: Run
    name: str
    file: Path | None
    compiled: bool
    seconds: float


_loaded: list[Kernels] = []


def kernels(progress: Callable[[str], None] = _log.warning) -> Kernels:
    """The walker: from memory, from disk, or compiled, which takes some seconds once.

    Args:
        progress: is told, in a sentence, when it compiles and when the code cannot be kept.
    """
    with _lock:
        if not _loaded:
            _loaded.append(_load(progress))
        return _loaded[0]


def root() -> Path:
    """Where folders of kernels lie: BITLENS_CACHE_DIR, XDG_CACHE_HOME/bitlens or ~/.cache/bitlens."""
    own = os.environ.get("BITLENS_CACHE_DIR")
    if own:
        return Path(own).expanduser() / "kernels"
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "bitlens" / "kernels"


def digest() -> str:
    """Of all sources in this folder and of the versions of the compiler."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    for package in ("numba", "llvmlite"):
        found.update(version(package).encode() + b"\0")
    return found.hexdigest()[:16]


def _file(target: str) -> Path:
    """Where the code for a target is kept."""
    return root() / digest() / (hashlib.sha256(target.encode()).hexdigest()[:16] + ".o")


_ELSEWHERE = (
    "Numba is set for another CPU than the environment says (by a .numba_config.yaml, or by this program), "
    "so every start like this one compiles; set NUMBA_CPU_NAME and NUMBA_CPU_FEATURES instead"
)


def _load(progress: Callable[[str], None]) -> Kernels:
    started = time.perf_counter()
    file = _file(target())
    kept: Path | None = file
    code = _read(file)
    compiled = False
    if code is None:
        try:
            with _alone(file):
                code = _read(file)
                if code is None:
                    code, compiled = _compile(progress), True
                    kept = _file(code.target)
                    _write(code, kept)
                    _forget(file.parent)
                    if kept != file:
                        progress(_ELSEWHERE)
        except OSError as error:
            kept = None
            progress(
                f"kernels cannot be kept in {file.parent} ({error.strerror or error}), so every start "
                "compiles them; name a folder by BITLENS_CACHE_DIR"
            )
            if code is None:
                code, compiled = _compile(progress), True
    run = link(code) or _by_numba()
    seconds = time.perf_counter() - started
    return Kernels(run=run, name=code.kernel, file=kept, compiled=compiled, seconds=seconds)


@contextmanager
def _alone(file: Path) -> Generator[None]:
    """Hold others back meanwhile: who starts at the same time waits, and then reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(progress: Callable[[str], None]) -> Code:
    progress("compiling kernels for this CPU, once, about 8 s")
    return _build()


def _build() -> Code:
    import numba

    # A cache of Numba's beside the sources would not see that the generator of a tile has changed.
    config: Any = numba.config
    before = config.CACHE_DIR
    with tempfile.TemporaryDirectory(prefix="bitlens-kernels-") as folder:
        config.CACHE_DIR = folder
        try:
            return build()
        finally:
            config.CACHE_DIR = before


def _by_numba() -> Run:
    """The walker by Numba itself, where its machine code needs what this process does not have."""
    from bitlens.engine.kernels.program import run

    return run


def _read(file: Path) -> Code | None:
    """The code in a file, None where there is none or it is damaged."""
    try:
        note = json.loads(file.with_suffix(".json").read_text())
        machine = file.read_bytes()
        if hashlib.sha256(machine).hexdigest() != note["sha256"]:
            return None
        code = Code(
            machine=machine,
            triple=note["triple"],
            target=note["target"],
            kernel=note["kernel"],
            needs=tuple(note["needs"]),
        )
        if _file(code.target).name != file.name:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        os.utime(file.parent)
    except OSError:
        _log.debug("%s is read-only", file.parent)
    return code


def _write(code: Code, file: Path) -> None:
    note = {
        "sha256": hashlib.sha256(code.machine).hexdigest(),
        "triple": code.triple,
        "kernel": code.kernel,
        "needs": code.needs,
        "target": code.target,
    }
    _replace(file, code.machine)
    _replace(file.with_suffix(".json"), json.dumps(note, indent=1).encode())


def _replace(file: Path, content: bytes) -> None:
    """Write a file as a whole: who reads meanwhile sees the old one or the new one."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _forget(current: Path) -> None:
    """Remove the folders of versions that were not used for longest."""
    others = [
        p for p in current.parent.iterdir() if p.is_dir() and p != current and len(p.name) == 16
    ]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
