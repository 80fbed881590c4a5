"""One split as it is stored: encoded images in a Hugging Face `Dataset`, and checked labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from bitlens.errors import BitlensError

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "fine_label", "labels")


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Encoded images with their labels.

    Attributes:
        encoded: has one column `image` of undecoded cells `{"bytes", "path"}`.
        labels: int64 `(n,)`, each in `range(len(classes))`.
        classes: names, in the order of the labels.
        where: says in words where row `i` is stored, for errors.
        files: what the rows were read from, for telling one state of the data from another.
        part: which of the rows in `files` these are; empty for all of them.
    """

    encoded: datasets.Dataset
    labels: np.ndarray
    classes: tuple[str, ...]
    where: Callable[[int], str]
    files: tuple[Path, ...]
    part: str = ""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.labels)

    def cells(self, indices: np.ndarray) -> list[dict]:
        """The undecoded images at `indices`, as `{"bytes": ..., "path": ...}`."""
        return self.encoded[indices]["image"]

    def select(self, indices: np.ndarray) -> Rows:
        """The rows at `indices`, in that order."""
        if len(indices) == 0:
            raise BitlensError(f"a selection of no rows from {self.where(0)}")
        chosen = self.encoded.select(indices)
        assert isinstance(chosen, datasets.Dataset)
        return Rows(
            encoded=chosen,
            labels=self.labels[indices],
            classes=self.classes,
            where=lambda row: self.where(int(indices[row])),
            files=self.files,
            part=hashlib.sha256(self.part.encode() + indices.tobytes()).hexdigest(),
        )


def read_rows(
    dataset: datasets.Dataset,
    *,
    where: Callable[[int], str],
    files: tuple[Path, ...],
    source: str,
) -> Rows:
    """Find the image and the label column of `dataset` and check every label.

    Args:
        dataset: a split; images in a column `image` or `img`, labels in `label`, `fine_label` or
            `labels`.
        where: says in words where row `i` is stored.
        files: what `dataset` was read from.
        source: what to call the split in errors that are about all of it.

    Raises:
        BitlensError: a column is missing or of the wrong type, there are no rows, or a label is
            missing, negative or out of range.
    """
    image = _column(dataset, _IMAGE_COLUMNS, "image", source)
    label = _column(dataset, _LABEL_COLUMNS, "label", source)
    if len(dataset) == 0:
        raise BitlensError(f"{source} has no rows")
    labels = _integers(dataset, label, where=where, source=source)
    feature = dataset.features[label]
    if isinstance(feature, datasets.ClassLabel):
        classes = tuple(feature.names)
    else:
        classes = tuple(str(number) for number in range(int(labels.max()) + 1))
    check_labels(labels, len(classes), where=where)
    images = dataset.select_columns([image])
    if image != "image":
        images = images.rename_column(image, "image")
    try:
        encoded = images.cast_column("image", datasets.Image(decode=False))
    except (TypeError, ValueError, pa.ArrowException) as why:
        raise BitlensError(
            f"{source}: column {image!r} holds {dataset.features[image]}, not images"
        ) from why
    assert isinstance(encoded, datasets.Dataset)
    return Rows(encoded=encoded, labels=labels, classes=classes, where=where, files=files)


def check_labels(labels: np.ndarray, classes: int, *, where: Callable[[int], str]) -> None:
    """Raise a BitlensError that names the first label outside `range(classes)`."""
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad) == 0:
        return
    label = int(labels[bad[0]])
    kind = "is negative" if label < 0 else f"is out of range, there are {classes} classes"
    raise BitlensError(f"{where(int(bad[0]))}: label {label} {kind}")


def check_same_classes(train: Rows, test: Rows, name: str) -> None:
    """Raise a BitlensError unless both splits speak of the same classes in the same order."""
    if train.classes == test.classes:
        return
    if _numbered(train.classes) and _numbered(test.classes):
        # Labels without names: the count comes from the largest label, and a test split may lack
        # the last classes of the train split, never the other way round.
        check_labels(test.labels, len(train.classes), where=test.where)
        return
    only_train = sorted(set(train.classes) - set(test.classes))
    only_test = sorted(set(test.classes) - set(train.classes))
    if not only_train and not only_test:
        raise BitlensError(f"{name}: train and test list the same classes in different orders")
    raise BitlensError(
        f"{name}: train and test have different classes; only in train: "
        f"{', '.join(only_train[:5]) or 'none'}; only in test: {', '.join(only_test[:5]) or 'none'}"
    )


def _numbered(classes: tuple[str, ...]) -> bool:
    return all(name == str(number) for number, name in enumerate(classes))


def _column(dataset: datasets.Dataset, names: tuple[str, ...], kind: str, source: str) -> str:
    for name in names:
        if name in dataset.column_names:
            return name
    raise BitlensError(
        f"{source} has no {kind} column: looked for {', '.join(names)} among "
        f"{', '.join(dataset.column_names) or 'no columns'}"
    )


def _integers(
    dataset: datasets.Dataset, column: str, *, where: Callable[[int], str], source: str
) -> np.ndarray:
    table = dataset.select_columns([column]).with_format("arrow")[:]
    assert isinstance(table, pa.Table)
    values = table.column(column)
    if not pa.types.is_integer(values.type):
        raise BitlensError(
            f"{source}: labels must be integers, column {column!r} holds {values.type}; "
            "cast it to ClassLabel or int64"
        )
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy())[0])
        raise BitlensError(f"{where(row)}: the label is missing")
    return values.to_numpy().astype(np.int64)
