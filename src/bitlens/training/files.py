"""Writing files so that a crash, a kill or a full disk never leaves half of one."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError

SCHEMA = 1
"""Version of summary.json and comparison.json."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to a temporary sibling, flush it to the disk, then put it in `path`'s place.

    Raises:
        BitlensError: it could not be written; the previous file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        kept = "; the previous file is intact" if path.is_file() else ""
        raise BitlensError(f"could not write {path}: {error.strerror or error}{kept}") from error


def write_json(path: Path, record: Any) -> None:
    """Atomically write `record` as indented JSON."""
    write_bytes(path, (json.dumps(record, indent=2) + "\n").encode())


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV with a line of names at the top, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV as text.

    Raises:
        BitlensError: not readable, or with other columns than `columns`.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BitlensError(f"cannot read {path}: {error}") from error
    found = list(reader.fieldnames or ())
    if found != list(columns):
        changed = sorted({*found} ^ {*columns}) or ["their order"]
        raise BitlensError(
            f"{path}: other columns than this bitlens writes ({', '.join(changed)}); remove it and "
            "let it be made again"
        )
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise BitlensError(
                f"{path}, row {number}: the count of cells differs from the header's"
            )
    return rows


def append_line(path: Path, line: str) -> None:
    """Add `line`, which ends with a newline, to `path`; it is on the disk when this returns.

    Raises:
        BitlensError: it could not be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BitlensError(f"could not write {path}: {error.strerror}") from error


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of writers that were killed; nobody may be writing meanwhile."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
