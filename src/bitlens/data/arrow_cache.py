"""Keeps the on-disk cache of `datasets` from deciding whether data can be read."""

from __future__ import annotations

import atexit
import errno
import shutil
import tempfile
from collections.abc import Callable
from typing import TypeVar

from bitlens.errors import BitlensError

_T = TypeVar("_T")
_UNUSABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
}


def with_arrow_cache(load: Callable[[str | None], _T]) -> _T:
    """Call `load(None)`, and where the usual cache folder cannot be written, use a temporary one.

    The temporary folder is removed when the process ends.

    Raises:
        BitlensError: the temporary folder cannot be written either.
    """
    try:
        return load(None)
    except Exception as first:
        if not _is_unusable(first):
            raise
    folder = tempfile.mkdtemp(prefix="bitlens-arrow-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        return load(folder)
    except Exception as second:
        if not _is_unusable(second):
            raise
        raise BitlensError(
            f"data of this size needs a cache on disk, and neither the one of `datasets` nor "
            f"{folder} can be written ({second}); set HF_DATASETS_CACHE to a folder with room"
        ) from second


def _is_unusable(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _UNUSABLE:
            return True
        if isinstance(error, OSError) and "disk space" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
