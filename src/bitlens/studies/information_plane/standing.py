"""How the rows of the claims stand, counted by claim and task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bitlens.studies.information_plane.tasks import TASKS
from bitlens.studies.information_plane.verdict import Verdict

OVERALL = "all tasks"
WORDS = ("holds", "fails", "undecided")
"""Verdicts of a claim with a pass mark, in the order in which they are told; others follow by name."""


def task_of(verdict: Verdict) -> str:
    """The task of a row without its shape; "all tasks" where it pools them."""
    return verdict.task if verdict.task == OVERALL else verdict.task.split()[0]


def tasks_of(verdicts: Sequence[Verdict]) -> list[str]:
    """The tasks that have rows, in the study's order."""
    found = {task_of(verdict) for verdict in verdicts}
    return [task for task in (*TASKS, OVERALL) if task in found]


def count_verdicts(verdicts: Sequence[Verdict]) -> dict[tuple[str, str], Counter[str]]:
    """(claim, task) -> how many rows hold, fail, and so on, in that order."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for verdict in sorted(verdicts, key=lambda row: _place(row.verdict)):
        key = verdict.claim, task_of(verdict)
        counts.setdefault(key, Counter())[verdict.verdict] += 1
    return counts


def _place(word: str) -> tuple[int, str]:
    return (WORDS.index(word) if word in WORDS else len(WORDS), word)
