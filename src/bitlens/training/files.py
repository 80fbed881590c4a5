"""Writing files so that a crash, a kill or a full disk never leaves half of one."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary sibling, flush it to disk, then put it in the place of `path`.

    Raises:
        BitlensError: it could not be written; the previous file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = "; the previous file is intact" if path.exists() else ""
        raise BitlensError(f"could not write {path}: {error.strerror or error}{kept}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Atomically write `content`."""
    write_atomically(path, lambda target: _write(target, content))


def write_json(path: Path, record: Any) -> None:
    """Atomically write `record` as indented JSON."""
    write_bytes(path, (json.dumps(record, indent=2) + "\n").encode())


def _write(target: Path, content: bytes) -> None:
    target.write_bytes(content)
