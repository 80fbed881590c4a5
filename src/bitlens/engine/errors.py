"""The one error of a `.bits` file and of a graph that breaks its rules."""

from __future__ import annotations

import reprlib

from bitlens.errors import BitlensError


class BitsFileError(BitlensError):
    """A `.bits` file that cannot be read, or a graph that does not mean anything.

    The message names the file, and the node and field where there is one.
    """


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


def shown(value: object) -> str:
    """A value as a message shows it: its `repr`, cut short when it is long."""
    return _short.repr(value)
