"""Findings as the rows of a CSV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from bitlens.studies.dense.findings import Finding, Interval

_INTERVALS = ("share", "gain", "time")
_PARTS = ("n", "mean", "low", "high")

COLUMNS = tuple(
    column
    for field in fields(Finding)
    for column in (
        (f"{field.name}_{part}" for part in _PARTS) if field.name in _INTERVALS else (field.name,)
    )
)
"""The fields of `Finding`; an interval is four columns: `share_n`, `_mean`, `_low`, `_high`."""


def summary_rows(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Rows of `COLUMNS`, empty cells for what there is none of."""
    return [_row(finding) for finding in findings]


def _row(finding: Finding) -> dict[str, str]:
    row: dict[str, str] = {}
    for field in fields(Finding):
        value = getattr(finding, field.name)
        if isinstance(value, Interval):
            row |= {f"{field.name}_{part}": _cell(getattr(value, part)) for part in _PARTS}
        else:
            row[field.name] = _cell(value)
    return row


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
