"""A file that is mapped into memory, and whether it is still the one that was read."""

from __future__ import annotations

import mmap
import os
import stat
import weakref

from bitlens.engine.errors import BitsFileError
from bitlens.errors import BitlensError


class MappedFile:
    """An open file and its map.

    Another file may take its name: this one stays as it was. Its own bytes may be changed in place, though,
    and then also in the map; size and time of change tell.
    """

    def __init__(self, path: str) -> None:
        """Open and map a file.

        Raises:
            BitsFileError: it is missing, empty, no ordinary file or not to be read.
        """
        self.path = path
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                raise BitsFileError("it is a folder; name the .bits file in it")
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | _NO_WAIT)
        except FileNotFoundError:
            raise BitsFileError("there is no such file") from None
        except (OSError, ValueError) as error:
            raise BitsFileError(f"it cannot be read: {error}") from None
        weakref.finalize(self, os.close, handle)
        self._handle = handle
        self._seen = self._state()
        self.map = self._map()

    def _map(self) -> mmap.mmap:
        state = os.fstat(self._handle)
        if not stat.S_ISREG(state.st_mode):
            raise BitsFileError("it is no ordinary file")
        if state.st_size == 0:
            raise BitsFileError("it is empty")
        try:
            return mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise BitsFileError(f"it cannot be read: {error}") from None

    def _state(self) -> tuple[int, int]:
        state = os.fstat(self._handle)
        return state.st_size, state.st_mtime_ns

    def check(self) -> None:
        """Compare the file with what it was when it was opened.

        Raises:
            BitlensError: it was changed in place.
        """
        if self._state() != self._seen:
            raise BitlensError(
                f"{self.path} was changed in place under the session; load it again, and put a new file in "
                "its place (write beside it, then rename) to spare what runs"
            )


_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""A pipe without a writer must not hold the opener."""
