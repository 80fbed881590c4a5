"""Progress of `bitlens study bibench`: a bar on a terminal, else a line every quarter of a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from bitlens.cli.display import counting
from bitlens.cli.study_progress import PAUSE
from bitlens.report.quantities import duration
from bitlens.studies.bibench.evaluate import Tell


@contextmanager
def showing() -> Generator[Tell]:
    """What the study tells its progress to."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    with counting("corrupted and judged") as count:
        yield lambda done, total, what: count(done, total)


def _lines() -> Tell:
    begun = shown = time.monotonic()

    def tell(done: int, total: int, what: str) -> None:
        nonlocal shown
        now = time.monotonic()
        if done == total:
            print(f"{total:,} measurements in {duration(now - begun)}", flush=True)
        elif now - shown >= PAUSE:
            shown = now
            left = (now - begun) / max(done, 1) * (total - done)
            print(f"{done:,}/{total:,} {what}, about {duration(left)} left", flush=True)

    return tell
