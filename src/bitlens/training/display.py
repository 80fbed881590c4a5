"""What the loop tells whoever watches it: a protocol, and the watcher that shows nothing."""

from __future__ import annotations

from typing import Any, Protocol


class Display(Protocol):
    """What the loop tells about itself while it runs."""

    def begin(self, epochs: int, steps: int) -> None:
        """Before training: epochs of the run and steps of each."""

    def end(self) -> None:
        """After training, however it ended."""

    def step(
        self, epoch: int, step: int, loss: float, accuracy: float, bound: float | None
    ) -> None:
        """After a step: epoch and step in the epoch from 1, running means of this epoch."""

    def epoch(self, row: dict[str, Any]) -> None:
        """After an epoch: its metrics row."""

    def plane(self, row: dict[str, Any]) -> None:
        """After a point of the information plane: its row."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Silent:
    """A display that shows nothing."""

    def begin(self, epochs: int, steps: int) -> None:
        """Ignore."""

    def end(self) -> None:
        """Ignore."""

    def step(
        self, epoch: int, step: int, loss: float, accuracy: float, bound: float | None
    ) -> None:
        """Ignore."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Ignore."""

    def plane(self, row: dict[str, Any]) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
