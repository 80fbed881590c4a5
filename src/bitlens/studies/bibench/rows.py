"""bibench.csv: one row per net, corruption and severity, written as soon as it is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bitlens.errors import BitlensError
from bitlens.training.files import append_line, write_bytes

FILE = "bibench.csv"
CLEAN = "clean"
"""Stands for no corruption, at severity 0."""

Key = tuple[str, str, str, int, int, int, int]
"""Digest of the recipe, of the weights, corruption, severity, draw, images, version of the set."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Accuracy of one net on one version of the test images.

    Attributes:
        variant, seed, data, image_size, model, method, objective: of the run.
        corruption: a name of `CORRUPTIONS`, or "clean".
        severity: 1 to 5; 0 for clean.
        accuracy: top-1, a fraction.
        loss: mean cross-entropy in nats.
        images: how many test images, evenly spaced over the split.
        draw: seed of the corruptions.
        corruptions: version of the set of corruptions.
        recipe_digest, weights: twelve hex digits of the recipe and of the weights file.
        run: where the net lies.
        bitlens, torch: versions.
    """

    variant: str
    seed: int
    data: str
    image_size: int
    model: str
    method: str
    objective: str
    corruption: str
    severity: int
    accuracy: float
    loss: float
    images: int
    draw: int
    corruptions: int
    recipe_digest: str
    weights: str
    run: str
    bitlens: str
    torch: str

    @property
    def key(self) -> Key:
        """What makes a measurement the same measurement."""
        return (
            *(self.recipe_digest, self.weights, self.corruption, self.severity),
            *(self.draw, self.images, self.corruptions),
        )


COLUMNS = tuple(field.name for field in fields(Row))
_KINDS: dict[str, Callable[[str], Any]] = {
    field.name: {"int": int, "float": float}.get(str(field.type), str) for field in fields(Row)
}


class Rows:
    """The file in a folder, and its rows by key."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; a last line that a killed process cut off is dropped.

        Raises:
            BitlensError: another line is damaged, or the columns are not these.
        """
        self.path = folder / FILE
        self.by_key: dict[Key, Row] = {}
        if not self.path.exists():
            write_bytes(self.path, _line(COLUMNS).encode())
            return
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_bytes(self.path, whole.encode())
        for row in _parsed(self.path, whole):
            self.by_key[row.key] = row

    def add(self, row: Row) -> None:
        """Write a row; it is on the disk when this returns."""
        values = asdict(row) | {"accuracy": f"{row.accuracy:.6f}", "loss": f"{row.loss:.6g}"}
        append_line(self.path, _line(values.values()))
        self.by_key[row.key] = row


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _parsed(path: Path, text: str) -> Iterable[Row]:
    reader = csv.reader(io.StringIO(text))
    head = next(reader, None)
    if head != list(COLUMNS):
        raise BitlensError(
            f"{path}: not written by this bitlens; move it away or name another --out"
        )
    for number, cells in enumerate(reader, start=2):
        try:
            values: dict[str, Any] = {
                name: _KINDS[name](cell) for name, cell in zip(COLUMNS, cells, strict=True)
            }
        except ValueError as error:
            raise BitlensError(
                f"{path}, line {number}: damaged ({error}); remove that line"
            ) from error
        yield Row(**values)
