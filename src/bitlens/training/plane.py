"""The information plane of a run: measured while it trains, written to plane.jsonl, resumed with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.data.dense.scenes import SceneSet
from bitlens.data.normalize import normalize
from bitlens.errors import BitlensError
from bitlens.information.plane import InformationPlane
from bitlens.information.steps import LogSteps
from bitlens.objectives.gather import world
from bitlens.training.feed import Feed
from bitlens.training.files import append_line, write_bytes
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.streams import seed_for

BATCH = 256
"""Images that are normalised together."""


class ProbeImages:
    """Images of one split without augmentation, the same for every seed and variant of a comparison.

    Kept as they are on the disk, one byte a pixel, and normalised whenever they are iterated.
    """

    def __init__(self, feed: Feed, split: str, samples: int) -> None:
        images = feed.train if split == "train" else feed.test
        assert not isinstance(images, SceneSet)
        source = torch.Generator().manual_seed(seed_for(0, "plane"))
        order = torch.randperm(len(images), generator=source)[:samples]
        self.batches = list(images.batches(order.split(BATCH)))
        self.mean, self.std = feed.data.mean, feed.data.std

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and labels, batch by batch."""
        for pixels, labels in self.batches:
            yield normalize(pixels, self.mean, self.std), labels


class RunPlane:
    """Measures one run at the scheduled steps; process 0 writes the file.

    The header holds the settings, so that a run that is resumed goes on measuring what it measured.
    """

    def __init__(self, net: nn.Module, feed: Feed, settings: PlaneSettings, file: Path) -> None:
        steps = feed.steps * feed.recipe.epochs
        schedule = LogSteps(settings.points)
        available = len(feed.train if settings.split == "train" else feed.test)
        samples = settings.probe_size(
            available,
            seen=steps * feed.recipe.batch_size,
            points=len(schedule.steps(steps)),
        )
        self.plane = InformationPlane(
            net,
            ProbeImages(feed, settings.split, samples),
            steps=steps,
            steps_per_epoch=feed.steps,
            layers=settings.layers or None,
            schedule=schedule,
            split=settings.split,
        )
        self.header = {**self.plane.header, "settings": settings.to_json()}
        self.file = file
        self.writes = world()[0] == 0
        self.seconds = 0.0
        """Spent on measuring since the last `take_seconds`."""

    def start(self) -> None:
        """Begin the file of a new run."""
        if self.writes:
            write_bytes(self.file, _line(self.header).encode())

    def rewind(self, step: int) -> None:
        """Forget the rows after `step`: they were written, but the run continues from there.

        Raises:
            BitlensError: the file is of another plane, or a row up to `step` is damaged or missing.
        """
        if not self.writes:
            return
        lines = self.file.read_text("utf-8", "replace").splitlines() if self.file.exists() else []
        expected = [s for s in self.plane.schedule if s <= step]
        if not lines and not expected:
            return self.start()
        if not lines:
            raise BitlensError(
                f"{self.file}: missing, though the run is resumed after step {step}; its first steps "
                "can no longer be measured: resume without --plane or start again in another folder"
            )
        began = _parsed(lines[0]) or {}
        for key in ("settings", *self.header):
            if began.get(key) != self.header[key]:
                raise BitlensError(
                    f"{self.file}, line 1: {key} was {began.get(key)}, now it is {self.header[key]}; "
                    "resume with "
                    "the same data and settings or start again in another folder"
                )
        for place, wanted in enumerate(expected, start=1):
            row = _parsed(lines[place]) if place < len(lines) else None
            if row is None or row.get("step") != wanted:
                raise BitlensError(
                    f"{self.file}, line {place + 1}: damaged or missing, though the checkpoint covers "
                    f"step {step}; restore the file or start again in another folder"
                )
        kept = lines[: len(expected) + 1]
        write_bytes(self.file, "".join(f"{line}\n" for line in kept).encode())

    def step(self, step: int) -> dict[str, Any] | None:
        """Measure and write if `step` is scheduled; the row, in process 0."""
        row = self.plane.step(step)
        if row is not None and self.writes:
            self.seconds += row["seconds"]
            append_line(self.file, _line(row))
        return row

    def take_seconds(self) -> float:
        """Seconds of measuring since the last call."""
        taken, self.seconds = self.seconds, 0.0
        return taken


def remembered(file: Path) -> PlaneSettings | None:
    """The settings of the plane that a run began to measure; None when it measures none.

    Raises:
        BitlensError: a damaged first line.
    """
    if not file.exists():
        return None
    with file.open(encoding="utf-8", errors="replace") as lines:
        header = _parsed(lines.readline())
    if header is None:
        raise BitlensError(f"{file}, line 1: damaged; restore the file or remove it")
    return PlaneSettings.from_json(header.get("settings"), source=f"{file}, line 1")


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
