"""The one error that bitlens shows to a user: a sentence, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BitlensError(Exception):
    """Bad input or a state nobody should build on; the command line prints it and exits with 2."""


def near(value: str, choices: Iterable[str], *, most: int = 3) -> list[str]:
    """The names in `choices` closest to `value`, best first; empty when nothing is close."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(value.lower(), by_lower, n=most, cutoff=0.5)
    return [by_lower[name] for name in found]


def unknown(kind: str, value: str, choices: Iterable[str]) -> BitlensError:
    """An error for a name that does not exist: the near names, or all of them when none is near."""
    names = sorted(choices)
    close = near(value, names)
    hint = f"did you mean {' or '.join(close)}?" if close else f"choose from: {', '.join(names)}"
    return BitlensError(f"unknown {kind} {value!r}; {hint}")
