"""`bitlens doctor METHOD`, and methods that lie in the folder the command is given in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitlens.cli import _find_modules_here
from bitlens.models.conformance.check import CLAUSES

MINE = """
from dataclasses import replace
from bitlens import BitlensError
from bitlens.bits import hard_tanh, sign_values
from bitlens.methods.bireal import BIREAL, MeanMagnitudeWeight
from bitlens.methods.contract import ActivationBinarizer, scaled_sign


class ZeroIsZero(MeanMagnitudeWeight):
    def decompose(self, weight):
        return weight.detach().sign(), super().decompose(weight)[1]

    def forward(self, weight):
        return scaled_sign(weight, *self.decompose(weight), hard_tanh)


class Centered(ActivationBinarizer):
    def forward(self, x):
        return self.sign(x - x.mean())


def only_kernels(latent, progress):
    if latent.dim() == 2:
        raise BitlensError("a linear layer has no kernel")
    return MeanMagnitudeWeight()


def nothing(latent, progress):
    raise BitlensError("not today")


GOOD = replace(BIREAL, title="mine")
ZERO = replace(BIREAL, weight=lambda latent, progress: ZeroIsZero())
CENTERED = replace(BIREAL, activation=lambda channels, progress: Centered(hard_tanh))
KERNELS = replace(BIREAL, weight=only_kernels)
NOTHING = replace(BIREAL, weight=nothing)
CRASH = replace(BIREAL, nonlinearity=lambda channels: 1 / 0)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "mine.py").write_text(MINE)
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("method", ["irnet", "xnorpp", "mine:GOOD"])
def test_a_method_that_keeps_the_contract(say, mine: Path, method: str) -> None:
    said = say("doctor", method)
    first, *lines = said.out.splitlines()
    assert said.code == 0 and said.err == ""
    assert first.startswith(f"{method}: ")
    assert [line[8:26].strip() for line in lines] == [*CLAUSES, "packing"]
    assert {line[:8] for line in lines} == {"ok      "}
    told = "refused, as a runtime method is" if method == "xnorpp" else "equal torch's bit for bit"
    assert told in lines[-1]


def test_a_broken_clause_is_shown_in_both_kinds_of_layer_and_ends_with_2(say, mine: Path) -> None:
    said = say("doctor", "mine:ZERO")
    failed = [line for line in said.out.splitlines() if line.startswith("FAILED")]
    assert [line[8:26].strip() for line in failed] == ["weight signs"] * 2
    assert "convolution: the weight binarizer gives 0 at latent 0" in failed[0]
    assert "linear: the weight binarizer gives 0 at latent 0" in failed[1]
    assert (said.code, said.err) == (2, "bitlens: doctor: mine:ZERO: weight signs failed\n")


def test_what_a_batch_decides_is_not_static(say, mine: Path) -> None:
    said = say("doctor", "mine:CENTERED")
    assert said.code == 2 and "static or runtime" in said.err
    assert "declare deploy='runtime'" in said.out


def test_a_refused_kind_of_layer_is_told_and_the_rest_checked(say, mine: Path) -> None:
    said = say("doctor", "mine:KERNELS")
    assert said.code == 0 and "FAILED" not in said.out
    assert "refused linear             a linear layer has no kernel" in said.out.splitlines()
    assert "of 2 layers" in said.out
    said = say("doctor", "mine:NOTHING")
    assert said.code == 2 and said.err == "bitlens: doctor: mine:NOTHING: served failed\n"


def test_code_that_fails_in_its_own_way_is_no_traceback(say, mine: Path) -> None:
    said = say("doctor", "mine:CRASH")
    assert said.code == 2 and "packing failed" in said.err
    assert "ZeroDivisionError: division by zero" in said.out


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("irnt", "unknown method 'irnt'; did you mean irnet"),
        ("mine:MISSING", "there is no such attribute"),
        ("mine:ZeroIsZero", "it is a type"),
        (
            "theirs:METHOD",
            "cannot import theirs, it is not found; start bitlens in the folder of theirs.py",
        ),
        (
            "broken:METHOD",
            "cannot import broken, it fails with ZeroDivisionError: division by zero",
        ),
        (
            "needy:METHOD",
            "cannot import needy, it fails with ModuleNotFoundError: No module named 'nil'",
        ),
        ("mine METHOD", "unknown method"),
    ],
)
def test_a_method_that_is_not_there(say, mine: Path, method: str, message: str) -> None:
    (mine / "broken.py").write_text("1 / 0\n")
    (mine / "needy.py").write_text("import nil\n")
    said = say("doctor", method)
    assert said.code == 2 and message in said.err and said.out == ""
    assert said.err.count("\n") == 1


def test_a_wrong_name_is_told_without_torch(mine: Path) -> None:
    for command in (["doctor", "nope"], ["study", "bibench"], ["study", "bibench", "--draw", "1"]):
        program = (
            "import sys; from bitlens.cli import main; code = main(sys.argv[1:]); "
            "sys.exit(9 if 'torch' in sys.modules else code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *command],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and done.stderr.startswith("bitlens: "), done


def test_one_method_at_a_time(say) -> None:
    said = say("doctor", "irnet", "bnn")
    assert said.code == 2 and "give one method, or nothing" in said.err


def test_the_folder_comes_last_and_can_be_kept_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    libraries = [path for path in sys.path if path]
    monkeypatch.setattr(sys, "path", list(libraries))
    _find_modules_here()
    _find_modules_here()
    assert sys.path == [*libraries, str(tmp_path)]
    monkeypatch.setattr(sys, "path", list(libraries))
    monkeypatch.setattr(sys, "flags", type("Safe", (), {"safe_path": True}))
    _find_modules_here()
    assert sys.path == libraries
