"""The scores as a table for documentation pages, from scores.csv; needs no torch."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from bitlens.errors import unknown
from bitlens.studies.bibench.score_names import SCORES

NOTHING = "No scores have been published yet.\n"


def scores_table(path: Path, *names: str) -> str:
    """Markdown: a row per variant, a column per score that any of them has; mean ± sd over seeds.

    Args:
        path: scores.csv; where it has not been written, a sentence says so.
        names: of the scores to show; all when none is given.

    Raises:
        BitlensError: there is no such score.
    """
    for name in names:
        if name not in SCORES:
            raise unknown("score", name, SCORES)
    if not path.exists():
        return NOTHING
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return markdown(rows, names or tuple(SCORES)) + f"\n`{path.parent.name}/{path.name}`\n"


def markdown(rows: Sequence[Mapping[str, str]], wanted: Sequence[str] = tuple(SCORES)) -> str:
    """The same from rows of scores.csv."""
    found: dict[str, dict[str, Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault(row["variant"], {})[row["score"]] = row
    names = [name for name in wanted if any(name in own for own in found.values())]
    lines = [
        "| variant | seeds | " + " | ".join(names) + " |",
        "|---|" + "---|" * (len(names) + 1),
    ]
    for variant, own in found.items():
        seeds = max((int(row["n"]) for row in own.values()), default=0)
        cells = (_told(own[name]) if name in own else "-" for name in names)
        lines.append(f"| {variant} | {seeds} | " + " | ".join(cells) + " |")
    told = [f"{name}: {_over(found, name)}" for name in names]
    return "\n".join(lines) + "\n\n" + "; ".join(told) + ".\n"


def _told(row: Mapping[str, str]) -> str:
    spread = f" ± {float(row['sd']):.3f}" if row["sd"] else ""
    return f"{float(row['mean']):.3f}{spread}"


def _over(found: Mapping[str, Mapping[str, Mapping[str, str]]], name: str) -> str:
    """What a score was measured on; where variants differ, every wording once."""
    return " / ".join(dict.fromkeys(own[name]["over"] for own in found.values() if name in own))
