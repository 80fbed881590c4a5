"""The study's folder: one parquet file of measured points per trial, and what they were made with."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bitlens.errors import BitlensError
from bitlens.studies.information_plane.trial import Trial
from bitlens.training.files import write_bytes

SCHEMA = 1
Columns = dict[str, list[Any]]


class Store:
    """Reads and writes the trials of one study folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.trials_folder = self.folder / "trials"

    def path(self, trial: Trial) -> Path:
        """Where the points of `trial` lie, or will."""
        return self.trials_folder / f"{trial.name}.parquet"

    def holds(self, trial: Trial) -> bool:
        """Whether `trial` has been run.

        Raises:
            BitlensError: a damaged file, or one of another trial of the same name.
        """
        path = self.path(trial)
        if not path.exists():
            return False
        found = _record(path)["trial"]
        wanted = json.loads(json.dumps(asdict(trial)))
        if found != wanted:
            changed = [key for key in wanted if found.get(key) != wanted[key]]
            raise BitlensError(
                f"{path}: was made with other settings ({', '.join(changed)}); "
                "choose another folder or remove the file"
            )
        return True

    def write(self, trial: Trial, rows: Sequence[dict[str, Any]], made: dict[str, Any]) -> None:
        """Write the points of a finished trial; the file appears whole or not at all."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = pa.table({name: [row.get(name) for row in rows] for name in names})
        record = {"schema": SCHEMA, "trial": asdict(trial), "made": made}
        table = table.replace_schema_metadata({"bitlens": json.dumps(record)})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self.trials_folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path(trial), buffer.getvalue())

    def read(self, trial: Trial) -> Columns:
        """The points of `trial`, by column.

        Raises:
            BitlensError: it has not been run, or its file is damaged.
        """
        return pq.read_table(self._finished(trial)).to_pydict()

    def made(self, trial: Trial) -> dict[str, Any]:
        """Versions, machine and seconds of a finished trial.

        Raises:
            BitlensError: as `read`.
        """
        return _record(self._finished(trial))["made"]

    def _finished(self, trial: Trial) -> Path:
        if not self.holds(trial):
            raise BitlensError(f"{self.path(trial)}: this trial has not been run yet")
        return self.path(trial)


def _record(path: Path) -> dict[str, Any]:
    try:
        metadata = pq.read_schema(path).metadata or {}
        record = json.loads(metadata[b"bitlens"])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise BitlensError(f"{path}: damaged, or no file of this study; remove it") from error
    if record.get("schema") != SCHEMA:
        raise BitlensError(f"{path}: schema {record.get('schema')!r}, this bitlens reads {SCHEMA}")
    return record
