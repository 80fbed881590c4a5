"""The training loop's events, drawn by the report room's progress bar."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console

from bitlens.report.progress import Progress
from bitlens.training.recipe import Recipe

UNWRAPPED = 160
"""Columns of a table that goes to a file or a pipe, where nothing says how wide a line may be."""


def console() -> Console:
    """Standard output, as wide as the terminal, or wide enough for any table where there is none."""
    width = None if Console().is_terminal else UNWRAPPED
    return Console(width=width, highlight=False, markup=False, emoji=False)


@contextmanager
def counting(title: str) -> Generator[Callable[[int, int], None]]:
    """A bar on a terminal's standard error while something is counted: call it with (done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    screen = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(
        *columns,
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class TerminalDisplay:
    """Adapts `Progress`, which needs to know the length of the run, to the loop's events."""

    def __init__(self, title: str, enabled: bool | Literal["plain"] = True) -> None:
        self.title, self.enabled = title, enabled
        self._progress: Progress | None = None
        self._early: list[str] = []

    def begin(self, epochs: int, steps: int) -> None:
        """Start drawing."""
        self._progress = Progress(epochs, steps, self.title, self.enabled).__enter__()
        for text in self._early:
            self._progress.note(text)

    def end(self) -> None:
        """Stop drawing."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)

    def step(
        self, epoch: int, step: int, loss: float, accuracy: float, bound: float | None
    ) -> None:
        """One optimizer step."""
        if self._progress is not None:
            self._progress.step(epoch, step, loss, accuracy, bound)

    def epoch(self, row: dict[str, Any]) -> None:
        """One epoch."""
        if self._progress is not None:
            self._progress.epoch(row)

    def plane(self, row: dict[str, Any]) -> None:
        """One point of the information plane."""
        if self._progress is not None:
            self._progress.plane(plane_numbers(row))

    def note(self, text: str) -> None:
        """A sentence for the user; kept until drawing starts."""
        if self._progress is None:
            self._early.append(text)
        else:
            self._progress.note(text)


def plane_numbers(row: dict[str, Any]) -> str:
    """One row of plane.jsonl in a line: the deepest layer that can be read, and the prediction.

    >>> plane_numbers(row)  # doctest: +SKIP
    'plane step 120  hidden.1 I(X;T) 9.10 I(T;Y) 2.30  prediction I(T;Y) 1.20 bits  5/9 saturated'
    """
    layers = {name: reading for name, reading in row["layers"].items() if name != "prediction"}
    decision = row["layers"]["prediction"]
    readable = [name for name, reading in layers.items() if reading["flag"] != "saturated"]
    parts = [f"plane step {row['step']}"]
    if readable:
        reading = layers[readable[-1]]
        parts.append(
            f"{readable[-1]} I(X;T) {reading['entropy']:.2f} I(T;Y) {reading['information']:.2f}"
        )
    parts.append(f"prediction I(T;Y) {decision['information']:.2f} bits")
    parts.append(f"{len(layers) - len(readable)}/{len(layers)} saturated")
    return "  ".join(parts)


def live(recipe: Recipe, number: int, total: int) -> TerminalDisplay:
    """Display of run `number` of `total`, alone on the terminal."""
    return TerminalDisplay(f"[{number}/{total}] {recipe.name} seed {recipe.seed}")


def lines(recipe: Recipe, number: int, total: int) -> TerminalDisplay:
    """Display of a run that shares the terminal with others: plain lines."""
    return TerminalDisplay(f"[{number}/{total}] {recipe.name} seed {recipe.seed}", "plain")
