"""The resume state of a run: one file, checksummed, tensors and plain values only.

Layout: 8 magic bytes, 32 bytes of SHA-256 over the rest, then a torch archive. Reading verifies the
sum before it parses anything and never unpickles objects other than tensors and containers.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from bitlens.errors import BitlensError
from bitlens.training.files import write_bytes

SCHEMA = 1
"""Version of the checkpoint."""

MAGIC = b"BITLENS1"
_SUM = hashlib.sha256().digest_size


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, containers) atomically."""
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, buffer)
    payload = buffer.getvalue()
    write_bytes(path, MAGIC + hashlib.sha256(payload).digest() + payload)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        BitlensError: missing, not a checkpoint, damaged, or of another schema version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BitlensError(f"{path}: cannot read the checkpoint: {error.strerror}") from error
    if not content.startswith(MAGIC):
        raise BitlensError(f"{path}: not a bitlens checkpoint")
    payload = content[len(MAGIC) + _SUM :]
    if hashlib.sha256(payload).digest() != content[len(MAGIC) : len(MAGIC) + _SUM]:
        raise BitlensError(f"{path}: the checkpoint is damaged (its checksum does not match)")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever it stumbles over
        raise BitlensError(
            f"{path}: the checkpoint holds something other than plain tensors"
        ) from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        version = state.get("schema") if isinstance(state, dict) else None
        raise BitlensError(f"{path}: checkpoint schema {version!r}, this bitlens reads {SCHEMA}")
    return state
