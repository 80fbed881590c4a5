"""Progress on a terminal and off it, with a clock of our own."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bitlens.report.progress import (
    BLOCKS,
    Progress,
    duration_left,
    epoch_numbers,
    sparkline,
)

ROW: dict[str, Any] = {
    **{"epoch": 1, "train_loss": 1.25, "train_accuracy": 0.5, "eval_split": "validation"},
    **{"eval_loss": 0.75, "eval_accuracy": 0.625, "flip_rate": 0.0123, "bound": 1.2},
    **{"ceiling": 4.85, "bound_valid": True, "seconds": 7.9, "images_per_second": 1270.0},
}


class Clock:
    """A clock that goes forward when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool) -> Console:
    return Console(file=StringIO(), force_terminal=terminal, width=140, highlight=False)


def written(target: Console) -> str:
    assert isinstance(target.file, StringIO)
    return target.file.getvalue()


def train(progress: Progress, clock: Clock, *, epochs: int, steps: int, pause: float) -> None:
    with progress:
        for epoch in range(1, epochs + 1):
            for step in range(1, steps + 1):
                clock.now += pause
                progress.step(epoch, step, 1.0, accuracy=0.5, bound=1.0)
            progress.epoch(ROW | {"epoch": epoch})


def test_off_a_terminal_short_epochs_give_one_line_each() -> None:
    target, clock = console(terminal=False), Clock()
    progress = Progress(3, 20, "demo", console=target, clock=clock)
    train(progress, clock, epochs=3, steps=20, pause=0.4)
    lines = written(target).splitlines()
    assert [line.split("  ")[1] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_off_a_terminal_long_epochs_speak_every_ten_seconds() -> None:
    target, clock = console(terminal=False), Clock()
    progress = Progress(2, 25, "demo", console=target, clock=clock)
    train(progress, clock, epochs=2, steps=25, pause=1.0)
    lines = written(target).splitlines()
    inside = [line for line in lines if " step " in line]
    assert len(inside) == 4
    assert len(lines) == 6
    assert "epoch 1/2 step 10/25" in inside[0]
    assert "loss 1.000  acc 50.0 %  contrast 1.00 nats  left 40.0 s" in inside[0]


def test_plain_lines_on_a_terminal_hold_no_control_codes() -> None:
    target, clock = console(terminal=True), Clock()
    progress = Progress(2, 5, "[b]demo[/b]", enabled="plain", console=target, clock=clock)
    train(progress, clock, epochs=2, steps=5, pause=0.1)
    assert "\x1b" not in written(target)
    assert written(target).startswith("[b]demo[/b]  epoch 1/2")


@pytest.mark.parametrize("terminal", [True, False])
def test_silent_writes_nothing_and_reads_no_number(terminal: bool) -> None:
    class Device:
        def __float__(self) -> float:
            raise AssertionError("a silent process must not wait for its device")

    target = console(terminal=terminal)
    with Progress(1, 1, "demo", enabled=False, console=target) as progress:
        progress.step(1, 1, Device())
        progress.epoch(ROW)
    assert written(target) == ""


def test_numbers_are_read_only_when_a_line_is_due() -> None:
    reads: list[int] = []

    class Device:
        def __float__(self) -> float:
            reads.append(1)
            return 1.0

    clock = Clock()
    with Progress(1, 100, "demo", console=console(terminal=False), clock=clock) as progress:
        for step in range(1, 101):
            clock.now += 0.25
            progress.step(1, step, Device())
    assert len(reads) == 2


def test_on_a_terminal_the_live_picture_shows_everything() -> None:
    target, clock = console(terminal=True), Clock()
    with Progress(2, 4, "demo", console=target, clock=clock) as progress:
        progress.epoch(ROW)
        clock.now += 1
        progress.step(2, 1, 0.9, accuracy=0.5, bound=1.1)
        clock.now += 1
        progress.step(2, 2, 0.875, accuracy=0.5, bound=1.1)
    text = written(target)
    assert "epoch 2/2" in text
    assert "loss 0.875" in text
    assert "flips 1.23 %" in text
    assert "bound 1.20/4.85 nats" in text
    assert "left 2.0 s" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_a_note_is_written_as_it_is(terminal: bool) -> None:
    target = console(terminal=terminal)
    with Progress(1, 1, "demo", console=target) as progress:
        progress.note("layer [b]1[/b] is constant")
    assert "demo  note: layer [b]1[/b] is constant" in written(target)


def test_the_terminal_is_restored_after_an_error() -> None:
    target = console(terminal=True)
    with pytest.raises(KeyboardInterrupt), Progress(1, 9, "demo", console=target) as progress:
        progress.step(1, 1, 1.0)
        raise KeyboardInterrupt
    assert written(target).count("\x1b[?25l") == 1
    assert written(target).endswith("\x1b[?25h")


def test_the_last_epoch_gives_the_terminal_back_without_a_context() -> None:
    target = console(terminal=True)
    progress = Progress(1, 1, "demo", console=target)
    progress.step(1, 1, 1.0)
    progress.epoch(ROW)
    assert written(target).endswith("\x1b[?25h")
    progress.close()
    assert written(target).endswith("\x1b[?25h")


def test_epoch_numbers_leave_out_what_was_not_measured() -> None:
    text = epoch_numbers(ROW)
    assert "validation acc 62.50 %" in text
    assert "flips 1.23 %" in text
    assert "1270 img/s" in text
    bare = epoch_numbers({"epoch": 1, "train_loss": 1.25, "flip_rate": None, "bound": None})
    assert bare == "train loss 1.250"
    assert "score 1.20/4.85 nats" in epoch_numbers(ROW | {"bound_valid": False})


def test_time_left_ignores_steps_before_a_resume() -> None:
    # 10 steps in 5 seconds since step 100, 40 to go.
    assert duration_left((100, 0.0), 110, 150, 5.0) == "20.0 s"
    assert duration_left(None, 0, 10, 5.0) == "?"
    assert duration_left((0, 0.0), 10, 10, 5.0) == "0.0 s"


@given(st.lists(st.floats(0, 1), max_size=60))
def test_sparkline_keeps_order(values: list[float]) -> None:
    line = sparkline(values)
    shown = values[-40:]
    assert len(line) == len(shown)
    heights = [BLOCKS.index(mark) for mark in line]

    ordered = [heights[i] for i in sorted(range(len(shown)), key=shown.__getitem__)]
    assert ordered == sorted(ordered)


def test_the_plane_has_a_line_with_the_next_one_off_a_terminal() -> None:
    target, clock = console(terminal=False), Clock()
    progress = Progress(2, 4, "demo", console=target, clock=clock)
    progress.plane("plane step 0")
    progress.plane("plane step 1")
    assert written(target) == ""
    train(progress, clock, epochs=2, steps=4, pause=0.1)
    assert [line for line in written(target).splitlines() if "plane" in line] == [
        "demo  plane step 1"
    ], "the last one, once"


def test_the_plane_stays_in_the_picture_of_a_terminal() -> None:
    target, clock = console(terminal=True), Clock()
    progress = Progress(2, 4, "demo", console=target, clock=clock)
    progress.plane("plane step 3  prediction I(T;Y) 1.00 bits")
    train(progress, clock, epochs=2, steps=4, pause=0.2)
    assert written(target).count("prediction I(T;Y) 1.00 bits") >= 2
