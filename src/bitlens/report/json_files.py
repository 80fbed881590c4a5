"""JSON and JSON-lines files, read with errors that name the file, the line and the way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError

SCHEMA = 3
"""The newest version of the run folder's files that this package reads."""


def read_json(path: Path) -> Any:
    """The content of one JSON file.

    Raises:
        BitlensError: when the file cannot be read or is not JSON.
    """
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise BitlensError(
            f"damaged JSON in {path}, line {error.lineno}: {error.msg}; "
            "restore the file or run the training again"
        ) from error


def read_json_lines(path: Path) -> tuple[list[Any], bool]:
    """The values of a JSON-lines file, and whether its last line was cut off.

    A process that is killed while it writes leaves an incomplete last line; that line alone is
    forgiven, and reported by the second value.

    Raises:
        BitlensError: when any line but the last is damaged.
    """
    lines = [(n, line) for n, line in enumerate(_text(path).split("\n"), start=1) if line.strip()]
    values = []
    for number, line in lines:
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == lines[-1][0]:
                return values, True
            raise BitlensError(
                f"damaged JSON in {path}, line {number}: {error.msg}; only the last line may be "
                "incomplete; remove that line or run the training again"
            ) from error
    return values, False


def check_schema(path: Path, content: Any) -> dict[str, Any]:
    """`content` as an object whose schema version this package knows.

    Raises:
        BitlensError: when it is no object, has no version, or a newer one.
    """
    if not isinstance(content, dict):
        raise BitlensError(f"{path} should hold a JSON object, not {type(content).__name__}")
    version = demand(content, "schema", int, str(path))
    if version > SCHEMA:
        raise BitlensError(
            f"{path} has schema {version}, this bitlens reads up to {SCHEMA}; upgrade bitlens"
        )
    return content


def demand(content: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """The value of `key`, which must be there and be of `kind` (a bool is no number).

    Raises:
        BitlensError: naming `where`, the key and what was found.
    """
    if key not in content:
        raise BitlensError(f"{where} has no {key!r}; it was not written by bitlens or is damaged")
    value = content[key]
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise BitlensError(f"{where}: {key!r} should be of type {kind.__name__}, not {value!r}")
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BitlensError(
            f"{path} is not UTF-8 text (byte {error.start}); it is damaged or not a bitlens file"
        ) from error
    except OSError as error:
        raise BitlensError(f"cannot read {path}: {error.strerror}") from error
