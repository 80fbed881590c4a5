"""`bitlens study information-plane --tier smoke|short|full`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bitlens.cli.options import Machine, Out, parse, split_names, use_threads
from bitlens.errors import BitlensError, unknown
from bitlens.studies import STUDIES


@dataclass(frozen=True, kw_only=True)
class Study:
    """Do float nets fit first and compress later, and binary nets both at once?

    Finished trials in the folder are kept, so the same command continues what was interrupted, and a
    larger tier builds on a smaller one.
    """

    tier: Literal["smoke", "short", "full"] = "short"
    """How much: smoke a minute, short ten minutes, full hours."""
    jobs: int = 0
    """Trials at the same time, sharing the threads; 0 takes one per thread."""
    out: Out = None
    """Folder of the study; by default runs/information-plane."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)


def run(arguments: Sequence[str]) -> None:
    """Run a study and judge its claims."""
    names, rest = split_names(arguments)
    if not names and {"--help", "-h"} & set(rest):
        names = [next(iter(STUDIES))]
    if len(names) != 1:
        raise BitlensError(
            f"study: name one study ({', '.join(STUDIES)}), e.g. bitlens study information-plane"
        )
    if names[0] not in STUDIES:
        raise unknown("study", names[0], STUDIES)
    options = parse(Study, f"study {names[0]}", rest)
    if options.jobs < 0:
        raise BitlensError(f"study: jobs={options.jobs}; give at least 1, or 0 for one per thread")
    _study(options)


def _study(options: Study) -> None:
    import torch

    from bitlens.cli.display import console
    from bitlens.cli.study_progress import told
    from bitlens.studies.information_plane.outcome import write_outcome
    from bitlens.studies.information_plane.study import run_study

    use_threads(options.machine.threads)
    folder = options.out or Path("runs/information-plane")
    trials = run_study(
        options.tier, folder, jobs=options.jobs or torch.get_num_threads(), make_tell=told
    )
    outcome = write_outcome(folder, trials)
    screen = console()
    screen.print(outcome.table)
    screen.print(f"{outcome.nets} nets, {len(trials)} trials   page {outcome.page}", soft_wrap=True)
    screen.print(f"rows {outcome.paths}   verdicts {outcome.verdicts}", soft_wrap=True)
