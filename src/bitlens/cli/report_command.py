"""`bitlens report RUN...`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitlens.cli.options import Out, parse, split_names
from bitlens.errors import BitlensError


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write one self-contained HTML page from run or comparison folders."""

    out: Out = None
    """The page; by default report.html in the first folder."""
    baseline: str = ""
    """Variant the others are compared with; by default the comparison's own."""


def run(arguments: Sequence[str]) -> None:
    """Write a report."""
    names, rest = split_names(arguments)
    options: Report = parse(Report, "report RUN...", rest)
    if not names:
        raise BitlensError("report: name at least one run or comparison folder")
    from bitlens.report.page import write_report

    folders = [Path(name) for name in names]
    out = options.out or folders[0] / "report.html"
    print(f"report {write_report(folders, out, options.baseline or None)}")
