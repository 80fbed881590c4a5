"""Where named data sets are looked for: the folders of `$BITLENS_DATA`, then the hub."""

from __future__ import annotations

import os
from pathlib import Path

from bitlens.errors import BitlensError

VARIABLE = "BITLENS_DATA"


def data_folders() -> list[Path]:
    """The folders of `$BITLENS_DATA`, in its order; several are joined as in `$PATH`."""
    parts = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [Path(part).expanduser() for part in parts if part]


def find_folder(names: tuple[str, ...], pattern: str) -> Path | None:
    """The first `$BITLENS_DATA/NAME` that holds a file matching `pattern`.

    Folders come in their order, and within one the names in theirs.
    """
    for folder in data_folders():
        for name in names:
            if (folder / name).is_dir() and any((folder / name).glob(pattern)):
                return folder / name
    return None


def not_found(name: str, names: tuple[str, ...], *, hub: str, why: Exception) -> BitlensError:
    """An error that says where a named set was looked for, and the ways to get it."""
    looked = [str(folder / part) for folder in data_folders() for part in names]
    places = f"looked in {', '.join(looked)}" if looked else f"${VARIABLE} is not set"
    return BitlensError(
        f"data set {name!r} not found: {places}; {why}. Set {VARIABLE} to a folder that holds "
        f"{' or '.join(part + '/' for part in names)}, or go online once for hub:{hub}"
    )
