"""Naming a `.bits` file on the command line: the file itself, or the run folder that holds it."""

from __future__ import annotations

from pathlib import Path

from bitlens.errors import BitlensError

NAME = "model.bits"
"""The packed net of a run, in its folder."""


def find_bits(command: str, name: str) -> Path:
    """The `.bits` file called `name`, or the one in the run folder called `name`.

    Raises:
        BitlensError: there is none; says how to make one.
    """
    path = Path(name)
    if path.is_dir():
        inside = path / NAME
        if not inside.is_file():
            raise BitlensError(f"{command}: {path} holds no {NAME}; make it: bitlens pack {path}")
        return inside
    if not path.exists():
        raise BitlensError(f"{command}: {path} does not exist")
    return path
