"""Which stored label is which class: from `classes.txt`, or from the labels themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitlens.data.dense.scenes import VOID
from bitlens.errors import BitlensError

VOID_NAMES = {"void", "unlabelled", "unlabeled"}
"""Names, in any case, of a class that is none."""

_NO_CLASS = -1


@dataclass(frozen=True, eq=False)
class ClassList:
    """The classes of a set of masks.

    Attributes:
        names: of the classes, in the order of the numbers they get.
        table: int16 `(256,)`, the class of every stored label; `VOID` for no class on purpose, negative
            for a label that nothing speaks of.
        source: what the list was made from, for errors.
    """

    names: tuple[str, ...]
    table: npt.NDArray[np.int16]
    source: str

    def translate(self, labels: npt.NDArray[np.uint8], *, where: str) -> npt.NDArray[np.uint8]:
        """Stored labels of any shape as classes; `VOID` stays what it is.

        Raises:
            BitlensError: a label is none of the list; `where` and the label are named.
        """
        classes = self.table[labels]
        if (classes == _NO_CLASS).any():
            label = int(labels[classes == _NO_CLASS].max())
            raise BitlensError(
                f"{where}: label {label} is beyond the {len(self.names)} classes of {self.source}; "
                f"list them all in classes.txt, or write {VOID} where there is no class"
            )
        return classes.astype(np.uint8)


def numbered(count: int, *, source: str) -> ClassList:
    """Classes without names: the labels 0 to `count - 1`."""
    return _class_list({label: str(label) for label in range(count)}, set(), source)


def count_classes(held: npt.NDArray[np.bool_], *, source: str) -> int:
    """How many classes there are where nothing names them: one more than the largest label.

    Args:
        held: bool `(256,)`, whether each label is anywhere in the train masks as they are stored. A mask
            brought to another size may have lost a small object, and with it the last class.
        source: the masks, for errors.

    Raises:
        BitlensError: they hold no class, or the class 0 alone.
    """
    labels = np.flatnonzero(held[:VOID])
    largest = int(labels[-1]) if labels.size else -1
    if largest < 1:
        told = "no class at all" if largest < 0 else "the class 0 alone"
        raise BitlensError(f"{source} hold {told} ({VOID} is no class); number the classes from 0")
    return largest + 1


def held_labels(masks: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.bool_]:
    """Which labels are anywhere in some masks, bool `(256,)`."""
    held = np.zeros(VOID + 1, np.bool_)
    for mask in masks:
        held |= np.bincount(mask.ravel(), minlength=VOID + 1) > 0
    return held


def read_class_list(file: Path) -> ClassList:
    """Read one name per line; empty lines do not count.

    Labels are counted from 0 in the order of the lines. A class called void, unlabelled or unlabeled is
    no class; its line may end in its label (`Void 11`), which the count of the others then leaves out.

    Raises:
        BitlensError: the file cannot be read, a name or a label comes twice, or there are too many.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as why:
        raise BitlensError(f"{file} cannot be read as text: {why}") from why
    lines = [line for line in lines if line]
    voids = {label for line in lines if (label := _told_void(line)) is not None}
    if voids and not 0 <= max(voids) <= VOID:
        raise BitlensError(f"{file}: label {max(voids)} is beyond {VOID}, the largest there is")
    names: dict[int, str] = {}
    label = -1
    for line in (line for line in lines if _told_void(line) is None):
        label = next(free for free in range(label + 1, label + len(voids) + 2) if free not in voids)
        if line in names.values():
            raise BitlensError(f"{file}: the class {line!r} comes twice")
        names[label] = line
    if label >= VOID:
        raise BitlensError(f"{file} lists labels up to {label}; there is room for 0 to {VOID - 1}")
    unnamed = {label for label, name in names.items() if name.lower() in VOID_NAMES}
    named = {label: name for label, name in names.items() if label not in unnamed}
    return _class_list(named, unnamed | voids, str(file))


def _class_list(names: dict[int, str], voids: set[int], source: str) -> ClassList:
    table = np.full(VOID + 1, _NO_CLASS, np.int16)
    table[[*voids, VOID]] = VOID
    table[list(names)] = np.arange(len(names))
    return ClassList(tuple(names.values()), table, source)


def _told_void(line: str) -> int | None:
    """11 of `Void 11`; None of a line that tells no label."""
    name, _, label = line.rpartition(" ")
    if name.strip().lower() in VOID_NAMES and label.isdecimal():
        return int(label)
    return None
