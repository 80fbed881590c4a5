"""Live progress of a training: a bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, SupportsFloat

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bitlens.report.quantities import duration, percent

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_PAUSE = 10.0
"""Seconds between two plain lines inside one epoch."""
REDRAW_PAUSE = 0.1
"""Seconds between two redraws of the live bar."""


class Progress:
    """What a training loop tells the person who waits for it.

    On a terminal a live bar with loss, accuracy, flip rate, MI bound and the time left; elsewhere
    (a log file, a pipe) one plain line per epoch and at most one line per ten seconds inside an
    epoch. Drawing starts with the first number and ends with the last epoch; as a context manager
    it also ends when training is interrupted, and gives the terminal back.
    """

    def __init__(
        self,
        total_epochs: int,
        steps_per_epoch: int,
        title: str,
        enabled: bool | Literal["plain"] = True,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to draw; nothing is written yet.

        Args:
            total_epochs: epochs of the whole training, including those done before a resume.
            steps_per_epoch: optimizer steps in one epoch.
            title: the name shown in front.
            enabled: True follows the terminal, "plain" writes lines even on a terminal, False is
                silent; every process of a distributed run but the first passes False.
            console: where to write; standard output by default.
            clock: seconds that only go forward.
        """
        self.total_epochs = total_epochs
        self.steps_per_epoch = steps_per_epoch
        self.title = title
        self.console = console or Console(highlight=False)
        self.silent = enabled is False
        self._clock = clock
        live = enabled is True and self.console.is_terminal
        self._live = Live(console=self.console, auto_refresh=False) if live else None
        self._started: tuple[int, float] | None = None
        self._shown = -float("inf") if live else clock()
        self._accuracies: list[float] = []
        self._last: Mapping[str, Any] = {}
        self._plane = ""

    def __enter__(self) -> Self:
        """Give the progress itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing and leave the terminal as it was, whatever happened."""
        self.close()

    def close(self) -> None:
        """Stop drawing; the last picture stays. Does no harm when called twice."""
        if self._live is not None:
            self._live.stop()

    def step(
        self,
        epoch: int,
        step: int,
        loss: SupportsFloat,
        accuracy: SupportsFloat | None = None,
        bound: SupportsFloat | None = None,
    ) -> None:
        """Tell of one optimizer step.

        The numbers are turned into floats only when a line is due, so passing device scalars does
        not wait for the device at every step.

        Args:
            epoch: the epoch, from 1.
            step: the step inside the epoch, from 1.
            loss: training loss.
            accuracy: training accuracy as a fraction.
            bound: MI bound in nats; called "contrast" here, because only the epoch's row tells
                whether it is a bound or a mere score.
        """
        if self.silent:
            return
        now = self._clock()
        done = (epoch - 1) * self.steps_per_epoch + step
        self._started = self._started or (done, now)
        if now - self._shown < (PLAIN_PAUSE if self._live is None else REDRAW_PAUSE):
            return
        self._shown = now
        left = duration_left(self._started, done, self._total_steps, now)
        numbers = _numbers(
            ("loss", f"{float(loss):.3f}"),
            ("acc", None if accuracy is None else percent(float(accuracy), 1)),
            ("contrast", None if bound is None else f"{float(bound):.2f} nats"),
        )
        if self._live is None:
            where = f"epoch {epoch}/{self.total_epochs} step {step}/{self.steps_per_epoch}"
            self._write_training(f"{self.title}  {where}  {numbers}  left {left}")
        else:
            self._draw(self._live, self._picture(epoch, done, numbers, left))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Tell of one finished epoch.

        Args:
            row: the row of metrics.jsonl.
        """
        if self.silent:
            return
        now = self._clock()
        self._shown = now if self._live is None else -float("inf")
        self._last = row
        if row.get("eval_accuracy") is not None:
            self._accuracies.append(row["eval_accuracy"])
        done = row["epoch"] * self.steps_per_epoch
        left = duration_left(self._started, done, self._total_steps, now)
        if self._live is None:
            where = f"epoch {row['epoch']}/{self.total_epochs}"
            self._write_training(f"{self.title}  {where}  {epoch_numbers(row)}  left {left}")
        else:
            self._draw(self._live, self._picture(row["epoch"], done, "", left))
        if row["epoch"] >= self.total_epochs:
            self.close()

    def plane(self, text: str) -> None:
        """Tell of one point of the information plane.

        On a terminal a line of the picture until the next point; elsewhere a line together with the
        next one of the training.

        Args:
            text: its numbers.
        """
        self._plane = text

    def note(self, text: str) -> None:
        """Tell of something the person should know, above the bar.

        Args:
            text: one sentence.
        """
        if not self.silent:
            self._write(f"{self.title}  note: {text}")

    @property
    def _total_steps(self) -> int:
        return self.total_epochs * self.steps_per_epoch

    def _draw(self, live: Live, picture: Group) -> None:
        live.start()
        live.update(picture, refresh=True)

    def _write_training(self, line: str) -> None:
        self._write(line)
        if self._plane:
            self._write(f"{self.title}  {self._plane}")
        self._plane = ""

    def _write(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def _picture(self, epoch: int, done: int, numbers: str, left: str) -> Group:
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        head.add_row(
            Text.assemble((self.title, "bold"), f"  epoch {epoch}/{self.total_epochs}"),
            ProgressBar(total=self._total_steps, completed=done),
            Text(f"{100 * done / max(1, self._total_steps):.0f} %  left {left}"),
        )
        lines = [head, Text(f"  now        {numbers}", "cyan")] if numbers else [head]
        if self._last:
            lines.append(Text(f"  epoch {self._last['epoch']:<5}{epoch_numbers(self._last)}"))
            lines.append(Text(f"  {_metric(self._last):<11}{sparkline(self._accuracies)}", "green"))
        if self._plane:
            lines.append(Text(f"  {self._plane}", "magenta"))
        return Group(*lines)


def epoch_numbers(row: Mapping[str, Any]) -> str:
    """The numbers of one row of metrics.jsonl as one line, leaving out what was not measured."""
    split = row.get("eval_split", "eval")
    return _numbers(
        ("train loss", _shown(row, "train_loss", "{:.3f}")),
        ("acc", _percent(row, "train_accuracy", 1)),
        (f"{split} loss", _shown(row, "eval_loss", "{:.3f}")),
        (f"{split} {_metric(row)}", _percent(row, "eval_accuracy", 2)),
        ("flips", _percent(row, "flip_rate", 2)),
        ("score" if row.get("bound_valid") is False else "bound", _bound(row)),
        ("", _shown(row, "seconds", "{:.1f} s")),
        ("", _shown(row, "images_per_second", "{:.0f} img/s")),
    )


def _metric(row: Mapping[str, Any]) -> str:
    """Short name of what `eval_accuracy` is."""
    return {"miou": "mIoU", "delta1": "δ1"}.get(row.get("metric", ""), "acc")


def sparkline(values: list[float], width: int = 40) -> str:
    """The last `width` values as block characters, from their least to their greatest."""
    shown = values[-width:]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    if high == low:
        return BLOCKS[len(BLOCKS) // 2] * len(shown)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(top * (value - low) / (high - low))] for value in shown)


def duration_left(started: tuple[int, float] | None, done: int, total: int, now: float) -> str:
    """The time left at the pace since `started` = (steps done before, time), or "?" without one.

    Steps done before a resume do not count into the pace.
    """
    if done >= total:
        return duration(0.0)
    if started is None or done <= started[0] or now <= started[1]:
        return "?"
    pace = (now - started[1]) / (done - started[0])
    return duration(pace * (total - done))


def _bound(row: Mapping[str, Any]) -> str | None:
    if row.get("bound") is None:
        return None
    ceiling = "" if row.get("ceiling") is None else f"/{row['ceiling']:.2f}"
    return f"{row['bound']:.2f}{ceiling} nats"


def _shown(row: Mapping[str, Any], key: str, form: str) -> str | None:
    return None if row.get(key) is None else form.format(row[key])


def _percent(row: Mapping[str, Any], key: str, digits: int) -> str | None:
    return None if row.get(key) is None else percent(row[key], digits)


def _numbers(*pairs: tuple[str, str | None]) -> str:
    return "  ".join(f"{name} {text}".strip() for name, text in pairs if text is not None)
