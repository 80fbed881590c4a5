"""What a study tells while its trials run, possibly several at a time: plain lines."""

from __future__ import annotations

import time

from bitlens.report.quantities import duration
from bitlens.studies.information_plane.trial import Tell, Trial

PAUSE = 15.0
"""Seconds between two lines of one trial."""


def told(trial: Trial, number: int, total: int) -> Tell:
    """A line when a trial begins, every quarter of a minute, and when it ends."""
    title = f"[{number}/{total}] {trial.name}"
    begun = shown = time.monotonic()
    print(f"{title}: {len(trial.seeds)} nets", flush=True)

    def tell(step: int, steps: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if step == steps:
            print(f"{title}: done in {duration(now - begun)}", flush=True)
        elif now - shown >= PAUSE:
            shown = now
            # Most points lie in the first steps, so the pace of those foretells nothing.
            left = (now - begun) / step * (steps - step)
            told = f", about {duration(left)} left" if step > steps / 4 else ""
            print(f"{title}: step {step}/{steps}{told}", flush=True)

    return tell
