"""`bitlens bench`: every figure is there and adds up; how large it is, is not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import bitlens
from bitlens.cli import bench_command
from bitlens.engine.bench.peers import PEERS


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolutional net, packed."""
    from bitlens.models import create

    net = create("resnet8-bireal-poolpad", method="bireal", classes=10, channels=3, image_size=16)
    pixels = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("packed") / "net.bits"
    bitlens.pack(net.eval(), (pixels / 255 - 0.5) / 0.25, mean=[0.5] * 3, std=[0.25] * 3).save(path)
    return path


def test_alone(say, packed: Path, tmp_path: Path) -> None:
    said = say("bench", str(packed), "--peers", "none", "--rounds", "2", "--json", "b.json")
    assert said.code == 0, said.err
    found = json.loads((tmp_path / "b.json").read_text())
    assert [engine["name"] for engine in found["engines"]] == ["packed"]
    assert found["engines"][0]["timing"]["ratio"] == 1
    assert found["engines"][0]["timing"]["rounds"] == 2
    assert found["file_bytes"] == packed.stat().st_size < found["float_bytes"]
    assert found["image"] == [16, 16, 3] and found["threads"] == 1
    operations = found["operations"]
    assert operations["binary_macs"] == sum(layer["binary_macs"] for layer in found["layers"]) > 0
    assert operations["ops"] == pytest.approx(
        operations["binary_macs"] / 64 + operations["int8_macs"] / 8 + operations["float_macs"]
    )
    assert found["kernel"] in said.out and found["cpu"] in said.out
    for layer in found["layers"]:
        assert layer["microseconds"] > 0 and layer["name"] in said.out
        busy = layer["binary_macs"] + layer["int8_macs"] + layer["float_macs"] > 0
        assert (layer["share_of_peak"] is not None) == busy
    assert ("1-bit" in said.out and "times one thread" in said.out) or os.cpu_count() == 1


def test_layers_are_those_of_the_net(say, packed: Path, tmp_path: Path) -> None:
    from bitlens.engine.file.format import read

    assert say("bench", str(packed), "--peers", "none", "--rounds", "1", "--json", "b").code == 0
    parts = {part["name"] for part in json.loads((tmp_path / "b").read_text())["layers"]}
    weighty = {node.name for node in read(packed).nodes if node.weights is not None}
    assert weighty <= parts


def test_a_peer_in_turns(say, packed: Path, tmp_path: Path) -> None:
    said = say("bench", str(packed), "--peers", "torch", "--rounds", "2", "--json", "b.json")
    assert said.code == 0, said.err
    own, torchs = json.loads((tmp_path / "b.json").read_text())["engines"]
    assert torchs["name"] == "torch" and torchs["version"] == torch.__version__
    timing = torchs["timing"]
    assert timing["low"] <= timing["ratio"] <= timing["high"]
    assert "torch, eager, float32, channels last" in said.out
    assert f"{own['timing']['milliseconds']:.3f}" in said.out


def test_all_peers_by_default_and_missing_ones_named(
    say, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {name: PEERS[name] for name in ("torch", "onnxruntime")}
    monkeypatch.setattr("bitlens.engine.bench.peers.GROUPS", {"all": tuple(two)})
    monkeypatch.delitem(sys.modules, "bitlens.engine.bench.peers.onnxruntime_float", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = say("bench", str(packed), "--rounds", "1")
    assert said.code == 0, said.err
    assert "torch, eager" in said.out
    assert "not installed: onnxruntime (pip install 'bitlens[bench]')" in said.out
    named = say("bench", str(packed), "--rounds", "1", "--peers", "onnxruntime")
    assert named.code == 2 and named.err.count("\n") == 1
    assert "peer onnxruntime: the package onnxruntime is not installed; pip install" in named.err


def test_a_run_folder_stands_for_its_file(say, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    refused = say("bench", "run")
    assert refused.code == 2 and "run holds no model.bits; make it: bitlens pack" in refused.err
    (tmp_path / "run" / "model.bits").write_bytes(packed.read_bytes())
    said = say("bench", "run", "--peers", "none", "--rounds", "1", "--threads", "2")
    assert said.code == 0 and said.out.startswith("run/model.bits on ")
    assert "the packed net computes one image on one thread, its peers theirs on 2" in said.out


def test_another_instruction_set_is_another_process(
    say, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], *, env: dict[str, str]) -> SimpleNamespace:
        started.append((command, env))
        return SimpleNamespace(returncode=(0, 2, -9)[len(started) - 1])

    monkeypatch.setattr(bench_command.subprocess, "run", run)
    options = ("--isa", "avx2", "--rounds", "3", "--peers", "int8", "--json", "b.json")
    assert say("bench", str(packed), *options).code == 0
    command, environment = started[0]
    assert command[:4] == [sys.executable, "-m", "bitlens", "bench"] and "--isa" not in command
    rest = " ".join(command[4:])
    assert rest == f"{packed} --threads 1 --rounds 3 --peers int8 --clock wall --json b.json"
    assert environment["NUMBA_CPU_NAME"] == "x86-64-v3" and environment["NUMBA_CPU_FEATURES"] == ""
    failed = say("bench", str(packed), "--isa", "generic")
    assert failed.code == 2 and failed.err == "", "it has told itself"
    assert started[1][1]["NUMBA_CPU_NAME"] == "x86-64-v2"
    killed = say("bench", str(packed), "--isa", "generic")
    assert killed.code == 2 and "the process with --isa generic was ended by signal 9" in killed.err


def test_the_environment_forces_the_kernel() -> None:
    """What --isa sets is what the compiler looks at."""
    if "x86" not in os.uname().machine:
        pytest.skip("these CPU models are x86")
    code = "from bitlens.engine.kernels.isa import host; print(host().name)"
    for isa, model in bench_command.FORCED.items():
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(bitlens.__file__).parents[1]),
                "NUMBA_CPU_NAME": model,
                "NUMBA_CPU_FEATURES": "",
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == isa


CASES = {
    "nothing": (["bench"], "bench: name one .bits file or run folder, before the options"),
    "two": (["bench", "a", "b"], "bench: name one .bits file or run folder, before the options"),
    "rounds": (["bench", "a.bits", "--rounds", "0"], "bench: rounds=0; give at least 1"),
    "threads": (["bench", "a.bits", "--threads", "-1"], "bench: threads=-1; give at least 1"),
    "no file": (["bench", "a.bits"], "bench: a.bits does not exist"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(say, tmp_path: Path, name: str) -> None:
    arguments, message = CASES[name]
    said = say(*arguments)
    assert said.code == 2 and said.err.startswith("bitlens: ") and said.err.count("\n") == 1
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_bad_input_with_a_file(say, packed: Path) -> None:
    for options, message in (
        (("--peers", "openvin"), "unknown peer 'openvin'; did you mean openvino"),
        (("--peers", "none,torch"), "bench: peers=none,torch; none stands alone"),
        (("--peers", "non"), "unknown peer 'non'; did you mean none"),
        (("--clock", "cpu", "--threads", "2"), "clock='cpu' adds up 2 threads"),
        (("--json", "none/b.json"), "bench: there is no folder none to write b.json into"),
    ):
        said = say("bench", str(packed), *options)
        assert said.code == 2 and said.err.count("\n") == 1 and message in said.err
    assert "avx2" in say("bench", str(packed), "--isa", "sse").err


def test_a_file_that_cannot_be_written_is_told_before_anything_is_timed(
    say, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.json").mkdir()
    monkeypatch.setattr("bitlens.engine.bench.bench.bench", None)
    said = say("bench", str(packed), "--peers", "none", "--json", "b.json")
    assert said.code == 2 and said.err.startswith("bitlens: bench: b.json is a folder")
