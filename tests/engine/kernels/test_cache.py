"""Machine code kept on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.engine.kernels import cache
from bitlens.engine.kernels.compile import Code
from bitlens.engine.kernels.compile import target as compile_target

REPORT = """
import sys
from bitlens.engine.kernels.cache import kernels
found = kernels(print)
found.run(0, 0)
print(found.compiled, found.name, "numba" in sys.modules, "torch" in sys.modules)
"""


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Code]:
    """An empty cache, and a compiler that hands out the code there is; the codes it gave."""
    file = cache.kernels().file
    assert file is not None
    code = cache._read(file)
    assert code is not None
    given: list[Code] = []

    def build() -> Code:
        given.append(code)
        return code

    monkeypatch.setattr(cache, "_build", build)
    monkeypatch.setattr(cache, "_loaded", [])
    monkeypatch.setenv("BITLENS_CACHE_DIR", str(tmp_path / "cache"))
    return given


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    here = cache.kernels()
    assert here.file is not None
    folder = tmp_path / "kernels" / here.file.parent.name
    shutil.copytree(here.file.parent, folder)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", REPORT],
        env={**os.environ, "BITLENS_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", here.name, "False", "False"]


def test_code_is_compiled_once_and_kept(built: list[Code], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    first = cache.kernels(said.append)
    assert first.compiled and len(built) == 1
    assert said == ["compiling kernels for this CPU, once, about 8 s"]
    assert cache.kernels() is first
    monkeypatch.setattr(cache, "_loaded", [])
    again = cache.kernels(said.append)
    assert not again.compiled and len(built) == 1 and len(said) == 1
    assert again.file == first.file and again.name == built[0].kernel
    again.run(0, 0)


@pytest.mark.parametrize("damage", ["short", "changed", "no note", "odd note"])
def test_damaged_code_is_compiled_again(
    built: list[Code], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    file = cache.kernels(lambda _: None).file
    assert file is not None
    machine, note = file.read_bytes(), file.with_suffix(".json")
    if damage == "short":
        file.write_bytes(machine[:1000])
    elif damage == "changed":
        file.write_bytes(machine[:-1] + bytes([machine[-1] ^ 1]))
    elif damage == "no note":
        note.unlink()
    else:
        note.write_text("[]")
    monkeypatch.setattr(cache, "_loaded", [])
    assert cache.kernels(lambda _: None).compiled
    assert len(built) == 2
    assert file.read_bytes() == machine
    assert json.loads(note.read_text())["kernel"] == built[0].kernel


def test_without_a_place_to_keep_it_code_still_runs(
    built: list[Code], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BITLENS_CACHE_DIR", str(tmp_path / "file"))
    said: list[str] = []
    found = cache.kernels(said.append)
    found.run(0, 0)
    assert found.file is None and found.compiled
    assert "cannot be kept" in said[0] and "BITLENS_CACHE_DIR" in said[0]
    assert said[1].startswith("compiling") and len(built) == 1


def test_a_disk_that_fills_up_costs_no_second_compilation(
    built: list[Code], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write", full)
    said: list[str] = []
    found = cache.kernels(said.append)
    found.run(0, 0)
    assert found.file is None and len(built) == 1
    assert "No space left on device" in said[1]


def test_who_starts_at_the_same_time_waits_and_reads(
    built: list[Code], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process writes the code while this one waits for the lock."""
    waiting = cache._alone

    @contextmanager
    def other_first(file: Path) -> Iterator[None]:
        with waiting(file):
            cache._write(cache._build(), file)
            yield

    monkeypatch.setattr(cache, "_alone", other_first)
    found = cache.kernels(lambda _: None)
    assert not found.compiled and len(built) == 1


def test_old_versions_are_removed(built: list[Code]) -> None:
    others = [cache.root() / f"{i:016x}" for i in range(5)]
    for i, folder in enumerate(others):
        folder.mkdir(parents=True)
        (folder / "code.o").touch()
        os.utime(folder, (1000 + i, 1000 + i))
    strange = cache.root() / "mine"
    strange.mkdir()
    file = cache.kernels(lambda _: None).file
    assert file is not None
    left = {file.parent, strange, *others[-(cache.KEPT - 1) :]}
    assert set(cache.root().iterdir()) == left


def test_the_folder_names_every_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "kernels"
    shutil.copytree(Path(cache.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = cache.digest()
    monkeypatch.setattr(cache, "__file__", str(copy / "cache.py"))
    assert cache.digest() == before
    for source in copy.glob("*.py"):
        text = source.read_text()
        source.write_text(text + "\n")
        assert cache.digest() != before, source.name
        source.write_text(text)


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BITLENS_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.root() == Path.home() / ".cache" / "bitlens" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.root() == tmp_path / "xdg" / "bitlens" / "kernels"
    monkeypatch.setenv("BITLENS_CACHE_DIR", str(tmp_path / "own"))
    assert cache.root() == tmp_path / "own" / "kernels"


SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX", "NUMBA_OPT")
NUMBAS_TARGET = """
from numba import config
from numba.core.registry import cpu_target
from bitlens.engine.kernels import compile
triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
effort = "max" if config.OPT.is_opt_max else str(int(config.OPT))
print(compile._target(triple, cpu, features, effort) == compile.target(), cpu)
"""


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""},
        {"NUMBA_CPU_NAME": "ivybridge", "NUMBA_OPT": "max"},
        {"NUMBA_ENABLE_AVX": "0", "NUMBA_OPT": "1"},
    ],
)
def test_the_target_is_what_numba_compiles_for(settings: dict[str, str]) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", NUMBAS_TARGET],
        env=clean | settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split()[:1] == ["True"], done.stdout + done.stderr


def test_settings_that_change_no_code_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compile_target()
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    assert compile_target() == before
    monkeypatch.setenv("NUMBA_OPT", "1")
    assert compile_target() != before


def test_code_for_another_target_is_kept_apart(
    built: list[Code], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a .numba_config.yaml lies in the folder: it must not serve those who start elsewhere."""
    build = cache._build
    monkeypatch.setattr(cache, "_build", lambda: replace(build(), target="another CPU"))
    said: list[str] = []
    file = cache.kernels(said.append).file
    assert file is not None and file.exists() and file != cache._file(compile_target())
    assert "set NUMBA_CPU_NAME" in said[-1]
    monkeypatch.setattr(cache, "_build", build)
    monkeypatch.setattr(cache, "_loaded", [])
    again = cache.kernels(said.append)
    assert again.compiled and again.file == cache._file(compile_target()) != file


def test_a_note_for_another_target_is_not_believed(
    built: list[Code], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = cache.kernels(lambda _: None).file
    assert file is not None
    note = json.loads(file.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps(note | {"target": "another CPU"}))
    monkeypatch.setattr(cache, "_loaded", [])
    assert cache.kernels(lambda _: None).compiled
