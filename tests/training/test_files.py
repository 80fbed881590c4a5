"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.training import files
from bitlens.training.files import remove_leftovers, write_bytes, write_json


def test_the_content_arrives(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, None]}
    write_bytes(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_keeps_the_previous_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    path = tmp_path / "state.pt"
    write_bytes(path, b"before")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(BitlensError) as caught:
        write_bytes(path, b"after")
    assert str(path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert "the previous file is intact" in str(caught.value)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["state.pt"]


def test_a_write_that_really_does_not_fit(tmp_path: Path) -> None:
    """The kernel refuses after 1000 bytes: half a temporary file exists for a moment."""
    program = f"""
import resource, signal
from pathlib import Path
from bitlens.errors import BitlensError
from bitlens.training.files import write_bytes
path = Path({str(tmp_path)!r}) / "f"
write_bytes(path, b"old")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    write_bytes(path, b"x" * 100_000)
except BitlensError as error:
    print(error)
"""
    source = str(Path(files.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File too large; the previous file is intact" in done.stdout
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_ctrl_c_in_the_middle_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "f", b"x")
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match=r"could not write .*nowhere.*No such file"):
        write_bytes(tmp_path / "nowhere" / "f", b"x")


def test_only_temporary_files_are_leftovers(tmp_path: Path) -> None:
    for name in (".state.pt.0a1b2c3d.tmp", ".lock", "state.pt", "notes.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", "notes.tmp", "state.pt"]
