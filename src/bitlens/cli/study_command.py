"""`bitlens study information-plane --tier TIER`, `study bibench FOLDER...` and `study dense FOLDER...`."""

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


@dataclass(frozen=True, kw_only=True)
class Bibench:
    """How do trained binary nets stand on BiBench's tracks: tasks, corruptions, cost, size, speed?

    Name the folders of finished comparisons, one or more, each with a float variant. Nothing is trained.
    Measured rows are kept, so the same command continues what was interrupted.
    """

    images: int = 2000
    """Test images that are corrupted, evenly spaced over the test split."""
    draw: int = 0
    """Seed of the corruptions."""
    out: Out = None
    """Folder of the study; by default runs/bibench."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)


@dataclass(frozen=True, kw_only=True)
class Dense:
    """How do binary nets of segmentation and depth stand beside their float twins and a constant?

    Name the folders of finished comparisons, one a task, each with a float variant. Nothing is trained.
    """

    scenes: int = 6
    """Test scenes on the pictures, evenly spaced over the test split."""
    out: Out = None
    """Folder of the study; by default runs/dense."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)


JUDGES = ("bibench", "dense")
"""Studies of finished comparisons, whose folders are named."""


def run(arguments: Sequence[str]) -> None:
    """Run a study and tell what came out."""
    names, rest = split_names(arguments)
    if not names and {"--help", "-h"} & set(rest):
        names = [next(iter(STUDIES))]
    if not names or (len(names) > 1 and names[0] not in JUDGES):
        raise BitlensError(
            f"study: name one study ({', '.join(STUDIES)}), e.g. bitlens study information-plane"
        )
    if names[0] not in STUDIES:
        raise unknown("study", names[0], STUDIES)
    if names[0] in JUDGES:
        _check_words(names[0], names[1:], rest)
        folders = [Path(name) for name in names[1:]]
        if names[0] == "bibench":
            _bibench(folders, parse(Bibench, "study bibench", rest))
        else:
            _dense(folders, parse(Dense, "study dense", rest))
        return
    options = parse(Study, f"study {names[0]}", rest)
    if options.jobs < 0:
        raise BitlensError(f"study: jobs={options.jobs}; give at least 1, or 0 for one per thread")
    _study(options)


def _check_words(study: str, folders: Sequence[str], rest: Sequence[str]) -> None:
    """Refuse plain words behind the options, each of which takes one word, and no folder at all."""
    values = {k + 1 for k, word in enumerate(rest) if word[:1] == "-" and "=" not in word}
    for k, word in enumerate(rest):
        if k not in values and word[:1] != "-":
            raise BitlensError(
                f"study {study}: {word!r} stands behind the options; name all folders before them"
            )
    if not folders and not {"--help", "-h"} & {*rest}:
        raise BitlensError(
            f"study {study}: name at least one folder of a finished `bitlens compare`"
        )


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


def _bibench(folders: Sequence[Path], options: Bibench) -> None:
    from bitlens.cli.bibench_progress import showing
    from bitlens.cli.display import console
    from bitlens.cli.options import pick_device
    from bitlens.studies.bibench.study import Options, run_study
    from bitlens.studies.bibench.terminal import score_table

    use_threads(options.machine.threads)
    judged = Options(
        images=options.images,
        draw=options.draw,
        device=str(pick_device(options.machine.device)),
    )
    with showing() as tell:
        outcome = run_study(folders, options.out or Path("runs/bibench"), judged, tell)
    screen = console()
    screen.print(score_table(outcome.scores))
    for sentence in outcome.left_out:
        screen.print(f"left out: {sentence}", soft_wrap=True)
    screen.print(f"page {outcome.page}   scores {outcome.table}", soft_wrap=True)


def _dense(folders: Sequence[Path], options: Dense) -> None:
    from bitlens.cli.display import console
    from bitlens.cli.options import pick_device
    from bitlens.studies.dense.study import run_study
    from bitlens.studies.dense.terminal import finding_table

    use_threads(options.machine.threads)
    screen = console()
    outcome = run_study(
        folders,
        options.out or Path("runs/dense"),
        scenes=options.scenes,
        device=str(pick_device(options.machine.device)),
        tell=lambda what: screen.print(what, soft_wrap=True),
    )
    screen.print(finding_table(outcome.findings))
    for sentence in (*outcome.claims, *outcome.left_out):
        screen.print(sentence, soft_wrap=True)
    pictures = " ".join(map(str, outcome.sheets))
    screen.print(f"page {outcome.page}   pictures {pictures}", soft_wrap=True)
    screen.print(f"rows {outcome.runs}   summary {outcome.summary}", soft_wrap=True)
