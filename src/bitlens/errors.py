"""The one error that bitlens shows to a user: a sentence, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BitlensError(Exception):
    """Bad input or a state nobody should build on; the command line prints it and exits with 2."""


def near(value: str, choices: Iterable[str], *, most: int = 3) -> list[str]:
    """The names in `choices` that, or whose beginnings, are closest to `value`, best first.

    Empty when nothing is close.
    """
    scores: dict[str, tuple[float, float]] = {}
    for choice in choices:
        whole = _alike(value, choice)
        scores[choice] = max(whole, 0.95 * _alike(value, choice[: len(value)])), whole
    best = sorted(scores, key=lambda choice: scores[choice], reverse=True)[:most]
    return [choice for choice in best if value and scores[choice][0] >= 0.55]


def _alike(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a.lower(), b.lower()).ratio()


def unknown(kind: str, value: str, choices: Iterable[str]) -> BitlensError:
    """An error for a name that does not exist: the near names, or all of them when none is near."""
    names = sorted(choices)
    close = near(value, names)
    hint = f"did you mean {' or '.join(close)}?" if close else f"choose from: {', '.join(names)}"
    return BitlensError(f"unknown {kind} {value!r}; {hint}")
