"""Run the trials of a tier, as many at a time as asked for, keeping what is finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bitlens.studies.information_plane.store import Store
from bitlens.studies.information_plane.tiers import trials
from bitlens.studies.information_plane.trial import Tell, Trial, run_trial
from bitlens.training.files import write_json
from bitlens.training.run import RunFolder, environment
from bitlens.training.workers import finished, workers

SCHEMA = 1

MakeTell = Callable[[Trial, int, int], Tell | None]
"""Makes the progress of one trial: itself, its number, and the number of trials."""


def silent(trial: Trial, number: int, total: int) -> None:
    """No progress at all."""


def run_study(
    tier: str, folder: Path, *, jobs: int = 1, make_tell: MakeTell = silent
) -> list[Trial]:
    """Run what is missing of a tier's trials in `folder`; interrupt and repeat at will.

    Args:
        tier: "smoke", "short" or "full".
        folder: of the study; a larger tier continues a smaller one in the same folder.
        jobs: processes that run different trials at the same time, sharing this process's threads.
        make_tell: progress of a trial; must be a module-level function when jobs > 1.

    Returns:
        All trials of the tier, every one of them finished.

    Raises:
        BitlensError: no such tier, missing data, a folder with trials of other settings, or one in
            which another process works.
    """
    everything, store = trials(tier), Store(folder)
    missing = [trial for trial in everything if not store.holds(trial)]
    with RunFolder(folder).locked():
        write_json(store.folder / "study.json", {"schema": SCHEMA, "tier": tier})
        calls = [
            (trial, store.folder, make_tell, everything.index(trial) + 1, len(everything))
            for trial in missing
        ]
        with workers(jobs) as pool:
            for _ in finished(pool, _run, calls):
                pass
    return everything


def _run(trial: Trial, folder: Path, make_tell: MakeTell, number: int, total: int) -> None:
    made: dict[str, Any] = environment(torch.device("cpu"), 1)
    begun = time.perf_counter()
    rows = run_trial(trial, make_tell(trial, number, total))
    Store(folder).write(trial, rows, {**made, "seconds": time.perf_counter() - begun})
