"""The command line called in this process: quick, and with the exit code it would end with."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bitlens.cli import main


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Said]]:
    """Run a command in an empty folder, and give signals and threads back afterwards."""
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Said:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    threads = torch.get_num_threads()
    yield run
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


@pytest.fixture
def quick_options(tiny_data: str) -> list[str]:
    """Options with which any demo recipe trains in a tenth of a second."""
    return [
        *("--data", tiny_data, "--augment", "none", "--model", "mlp", "--epochs", "1"),
        *("--batch-size", "32", "--threads", "1"),
    ]
