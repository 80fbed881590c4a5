"""From finished trials to what they say: rows, verdicts, figures, a page, and a table for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import rich.box
from rich.table import Table
from rich.text import Text

from bitlens.studies.information_plane.claims import judge
from bitlens.studies.information_plane.figures.every import FIGURES
from bitlens.studies.information_plane.figures.evidence import Evidence, Figure
from bitlens.studies.information_plane.page import Work, compose
from bitlens.studies.information_plane.paths import Path as PlanePath
from bitlens.studies.information_plane.paths import Trajectory, trajectories
from bitlens.studies.information_plane.saturation import judge_saturation
from bitlens.studies.information_plane.selection import POPULATION_SEED
from bitlens.studies.information_plane.standing import count_verdicts, tasks_of
from bitlens.studies.information_plane.store import Store
from bitlens.studies.information_plane.trial import Trial
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict
from bitlens.training.files import write_bytes, write_rows

MADE = ("commit", "torch", "cpu", "threads")
"""What each row says of how its net was trained."""
STYLES = {"holds": "green", "fails": "red", "undecided": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a study came to.

    Attributes:
        table: claims x tasks, how many rows hold, fail, or are undecided.
        nets: number of nets behind it.
        page: index.html, complete in itself.
        paths: CSV, one row a layer, net and read-out.
        verdicts: CSV, one row a claim, task and subject.
    """

    table: Table
    nets: int
    page: Path
    paths: Path
    verdicts: Path


def write_outcome(folder: Path, trials: Sequence[Trial]) -> Outcome:
    """Judge the claims on `trials` and write all that the study shows into `folder`.

    Trials are read one after another; of those beyond the comparison of kinds only one row a path is
    kept. Every file appears whole or not at all.

    Args:
        folder: of the study.
        trials: finished ones.

    Raises:
        BitlensError: a trial has not been run or its file is damaged, the images of C9 cannot be found, or
            a file cannot be written.
    """
    folder, store = Path(folder), Store(folder)
    kept: list[Trajectory] = []
    paths: list[PlanePath] = []
    rows: list[dict[str, object]] = []
    for trial in trials:
        made = {name: store.made(trial).get(name) for name in MADE}
        for trajectory in trajectories(store, [trial]):
            paths.append(trajectory.path)
            rows.append(trajectory.path.as_dict() | made)
            if trajectory.path.seed < POPULATION_SEED:
                kept.append(trajectory)
    tasks = {trial.task for trial in trials}
    order = list(STATEMENTS)
    verdicts = sorted(
        [*judge(paths), *judge_saturation(tasks)], key=lambda row: order.index(row.claim)
    )
    evidence = Evidence(trajectories=kept, paths=paths, verdicts=verdicts)
    drawn = [draw(evidence) for draw in FIGURES]
    outcome = Outcome(
        table=_table(verdicts),
        nets=sum(len(trial.seeds) for trial in trials),
        page=folder / "index.html",
        paths=folder / "paths.csv",
        verdicts=folder / "verdicts.csv",
    )
    _write_figures(folder / "figures", drawn)
    columns = [*(f.name for f in fields(PlanePath)), *MADE]
    write_rows(outcome.paths, columns, map(_cells, rows))
    write_rows(
        outcome.verdicts, [f.name for f in fields(Verdict)], map(_cells, map(asdict, verdicts))
    )
    work = _work(store, trials, outcome.nets, len(paths))
    write_bytes(outcome.page, compose(work, verdicts, drawn).encode())
    return outcome


def _write_figures(folder: Path, drawn: Iterable[Figure]) -> None:
    """Write the pictures there are; those of an earlier, larger set of trials go."""
    folder.mkdir(parents=True, exist_ok=True)
    for figure in drawn:
        place = folder / f"{figure.name}.svg"
        if figure.svg is None:
            place.unlink(missing_ok=True)
        else:
            write_bytes(place, figure.svg.encode())


def _cells(row: Mapping[str, object]) -> dict[str, object]:
    """A row with six digits a number."""
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}


def _work(store: Store, trials: Sequence[Trial], nets: int, paths: int) -> Work:
    """What was done, from the trials and the records they were written with."""
    made = [store.made(trial) for trial in trials]
    versions = {
        name: ", ".join(sorted({str(record[name]) for record in made if record.get(name)}))
        for name in ("bitlens", "commit", "torch", "python")
    }
    nets_of: Counter[str] = Counter()
    kinds: dict[str, set[str]] = {}
    for trial in trials:
        nets_of[trial.task] += len(trial.seeds)
        kinds.setdefault(trial.task, set()).add(trial.kind)
    return Work(
        trials=len(trials),
        nets=nets,
        paths=paths,
        seconds=sum(record["seconds"] for record in made),
        versions={name: version for name, version in versions.items() if version},
        tasks={task: (nets_of[task], sorted(kinds[task])) for task in nets_of},
    )


def _table(verdicts: Sequence[Verdict]) -> Table:
    """A claim in words, then a line a task under it."""
    table = Table(
        box=rich.box.SIMPLE_HEAD, title="Claims and what the runs say", title_justify="left"
    )
    table.add_column("claim", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("rows")
    counts = count_verdicts(verdicts)
    for claim, statement in STATEMENTS.items():
        found = {
            task: counts[claim, task] for task in tasks_of(verdicts) if (claim, task) in counts
        }
        if found:
            table.add_row(claim, "", Text(statement, "bold"))
        for task, numbers in found.items():
            table.add_row("", task, _told(numbers))
    return table


def _told(counts: Counter[str]) -> Text:
    """One line: how many rows hold, fail, and so on."""
    parts = [Text(f"{word} {number}", STYLES.get(word, "")) for word, number in counts.items()]
    return Text(", ").join(parts)
