"""What figures are drawn from, and what a figure is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bitlens.information.layers import PREDICTION, SIGNS
from bitlens.studies.information_plane.paths import Array, Path, Trajectory
from bitlens.studies.information_plane.selection import hidden_of
from bitlens.studies.information_plane.tasks import TASKS
from bitlens.studies.information_plane.tiers import HIDDEN, WIDE
from bitlens.studies.information_plane.verdict import Verdict

Place = tuple[str, str]
"""A task and the shape of the nets."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture and its words.

    Attributes:
        name: of its file.
        title: a few words.
        svg: the picture; None where there is nothing to draw.
        caption: how to read it, or what is missing.
        source: data, number of seeds, read-out, steps.
    """

    name: str
    title: str
    svg: str | None
    caption: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the figures look at.

    Attributes:
        trajectories: paths with their points, of the nets that the claims compare.
        paths: one row a path, of all nets.
        verdicts: of the claims.
    """

    trajectories: Sequence[Trajectory]
    paths: Sequence[Path]
    verdicts: Sequence[Verdict] = field(default=())

    @cached_property
    def main(self) -> list[Trajectory]:
        """Hidden layers of the study's main shape on every task."""
        return [t for t in self.compared if t.path.hidden == main_shape(t.path.task)]

    @cached_property
    def compared(self) -> list[Trajectory]:
        """Hidden layers of every shape whose kinds the claims compare."""
        return [
            trajectory
            for trajectory in self.trajectories
            if trajectory.path.layer != PREDICTION
            and trajectory.path.task in (*HIDDEN, "rule")
            and trajectory.path.hidden in hidden_of(trajectory.path.task)
        ]

    @property
    def tasks(self) -> list[str]:
        """Tasks that have main trajectories, in the study's order."""
        found = {trajectory.path.task for trajectory in self.main}
        return [task for task in TASKS if task in found]

    @property
    def places(self) -> list[Place]:
        """Tasks and shapes that the claims compare; the main shape of a task comes first."""
        found = {(t.path.task, t.path.hidden) for t in self.compared}
        ordered = sorted(found, key=lambda place: place[1] != main_shape(place[0]))
        return [place for task in TASKS for place in ordered if place[0] == task]

    def at(self, place: Place, kind: str, readout: str, from_end: int) -> list[Path]:
        """The seeds' paths of one layer of one kind, in one read-out."""
        wanted = (*place, kind, readout, from_end)
        paths = (trajectory.path for trajectory in self.compared)
        return [p for p in paths if (p.task, p.hidden, p.kind, p.readout, p.from_end) == wanted]

    def of(
        self, task: str, kind: str, readout: str, from_end: int | None = None
    ) -> list[Trajectory]:
        """The seeds' trajectories of one kind in one read-out, one layer of it or all."""
        return [
            trajectory
            for trajectory in self.main
            if trajectory.path.task == task
            and trajectory.path.kind == kind
            and trajectory.path.readout == readout
            and from_end in (None, trajectory.path.from_end)
        ]

    def verdict(self, claim: str, task: str, about: str) -> Verdict | None:
        """The first row of a claim on `task` whose subject starts with `about`."""
        fitting = (
            row
            for row in self.verdicts
            if row.claim == claim and row.task == task and row.about.startswith(about)
        )
        return next(fitting, None)


Draw = Callable[[Evidence], Figure]


def main_shape(task: str) -> str:
    """The shape that most kinds share on a task; empty where the study has none."""
    shape = WIDE if task == "rule" else HIDDEN.get(task, ())
    return "-".join(map(str, shape))


def mean_path(group: Sequence[Trajectory]) -> tuple[Array, Array, Array, list[bool]]:
    """Steps, mean H(T), mean I(T;Y), and where half of the seeds or more are saturated."""
    lost = np.mean([trajectory.saturated for trajectory in group], axis=0)
    return (
        group[0].steps,
        np.mean([trajectory.entropy for trajectory in group], axis=0),
        np.mean([trajectory.information for trajectory in group], axis=0),
        (lost >= 0.5).tolist(),
    )


def seeds_told(paths: Iterable[Path]) -> str:
    """How many seeds each task has: "rule 10, digits 5"."""
    seeds: dict[str, dict[str, set[int]]] = {}
    for path in paths:
        seeds.setdefault(path.task, {}).setdefault(path.kind, set()).add(path.seed)
    told = []
    for task in (name for name in TASKS if name in seeds):
        counts = sorted({len(found) for found in seeds[task].values()})
        told.append(f"{task} {counts[0] if len(counts) == 1 else f'{counts[0]} to {counts[-1]}'}")
    return "seeds: " + ", ".join(told)


def steps_told(trajectories: Iterable[Trajectory]) -> str:
    """How long each task trains: "steps: rule 5,200, digits 2,200"."""
    last: dict[str, int] = {}
    for trajectory in trajectories:
        task = trajectory.path.task
        last[task] = max(last.get(task, 0), int(trajectory.steps[-1]))
    return "steps: " + ", ".join(f"{task} {last[task]:,}" for task in TASKS if task in last)


def read_by(readout: str) -> str:
    """A read-out in words."""
    return "read by signs" if readout == SIGNS else f"read by {readout}"
