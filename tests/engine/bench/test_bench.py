"""The figures of a measurement hang together; none is compared with a clock."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from bitlens.engine.bench.bench import PACKED, _layers, bench, random_image
from bitlens.engine.bench.peers import PEERS, MissingPackage
from bitlens.engine.bench.timing import cores, load_average
from bitlens.engine.counts import count
from bitlens.engine.file.format import write
from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.kernels.peak import Peak
from bitlens.engine.run.session import Session
from bitlens.engine.words import pack_blocks
from bitlens.errors import BitlensError


def small_graph() -> Graph:
    """A sign, a binary convolution and a head; counts are known by hand."""
    draw = np.random.default_rng(0)
    nodes = (
        Node(
            name="sign",
            op="elementwise",
            inputs=("x",),
            shape=(6, 5, 40),
            steps=(Step(op="sign", value="codes", a="zero"),),
        ),
        Node(
            name="body",
            op="binary_conv",
            inputs=("codes",),
            shape=(6, 5, 70),
            window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
            weights="body",
            steps=(Step(op="multiply", a="scale"), Step(op="store", value="y")),
        ),
    )
    signs = draw.choice(np.array([-1, 1], np.int8), (70, 40, 3, 3))
    return Graph(
        nodes=nodes,
        values={
            "x": Value(name="x", kind="float", shape=(6, 5, 40)),
            "codes": Value(name="codes", kind="codes", shape=(6, 5, 40)),
            "y": Value(name="y", kind="float", shape=(6, 5, 70)),
        },
        tensors={
            "zero": np.zeros(40, np.float32),
            "scale": draw.normal(size=70).astype(np.float32),
            "body": pack_blocks(signs),
        },
        input="x",
        output="y",
        output_rank=4,
        meta={"model": "small"},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(small_graph(), tmp_path / "small.bits")
    return tmp_path / "small.bits"


def test_figures(path: Path, tmp_path: Path) -> None:
    done = bench(path, rounds=3)
    assert [engine.name for engine in done.engines] == [PACKED]
    assert done.operations["binary_macs"] == 6 * 5 * 70 * 9 * 40
    assert done.operations["ops"] == 6 * 5 * 70 * 9 * 40 / 64
    body = next(layer for layer in done.layers if layer.name == "body")
    seconds = 1e-6 * body.microseconds
    share = body.binary_macs / seconds / (1e9 * done.peak.popcount)
    assert body.share_of_peak == pytest.approx(share)
    assert done.file_bytes == path.stat().st_size
    assert done.float_bytes == 4 * 70 * 40 * 9
    assert done.image == (6, 5, 40) and done.meta["model"] == "small"
    done.save(tmp_path / "b.json")
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["layers"][1]["name"] == done.layers[1].name
    assert found["peak"]["popcount"] == done.peak.popcount
    with pytest.raises(BitlensError, match=r"could not write .*none/b.json: No such file"):
        done.save(tmp_path / "none" / "b.json")


def test_optional_peers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "absent", ("torch_eager_of_nowhere", ()))

    def refuse(name: str, graph: Graph, threads: int) -> None:
        raise MissingPackage(f"peer {name}: no package")

    monkeypatch.setattr("bitlens.engine.bench.bench.prepare", refuse)
    done = bench(path, peers=("absent",), optional=True, rounds=1)
    assert "not installed: absent (pip install 'bitlens[bench]')" in done.notes
    with pytest.raises(BitlensError, match="peer absent: no package"):
        bench(path, peers=("absent",), rounds=1)


def test_a_busy_machine_is_mentioned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlens.engine.bench.timing.os.getloadavg", lambda: (3.21, 0, 0))
    assert any("load average 3.2" in note for note in bench(path, rounds=1).notes)
    monkeypatch.setattr("bitlens.engine.bench.timing.os.getloadavg", lambda: (0.1, 9, 9))
    assert not bench(path, rounds=1).notes


def test_products_belong_to_the_convolution_not_to_a_copy_for_it() -> None:
    """Groups of 16 channels are brought to words of their own first, under the convolution's name."""
    draw = np.random.default_rng(0)
    shape = (6, 5, 48)
    window = Window(kernel=(3, 3), pads=(1, 1, 1, 1))
    sign, store = Step(op="sign", value="codes", a="zero"), Step(op="store", value="y")
    nodes = (
        Node(name="sign", op="elementwise", inputs=("x",), shape=shape, steps=(sign,)),
        Node(
            name="body",
            op="binary_conv",
            inputs=("codes",),
            shape=shape,
            window=window,
            groups=3,
            weights="body",
            steps=(store,),
        ),
    )
    graph = Graph(
        nodes=nodes,
        values={
            name: Value(name=name, kind="codes" if name == "codes" else "float", shape=shape)
            for name in ("x", "codes", "y")
        },
        tensors={
            "zero": np.zeros(48, np.float32),
            "body": pack_blocks(draw.choice([-1, 1], (48, 16, 3, 3)), 3),
        },
        input="x",
        output="y",
        output_rank=4,
    )
    peak = Peak(popcount=1000.0, int8=100.0, float32=10.0)
    layers = _layers(Session(graph), count(graph), random_image(graph, 1), peak)
    body = {layer.op: layer for layer in layers if layer.name == "body"}
    assert set(body) == {"regroup", "binary_conv"}
    assert body["regroup"].binary_macs == 0 and body["regroup"].share_of_peak is None
    assert body["binary_conv"].binary_macs == 6 * 5 * 48 * 9 * 16


def test_a_system_may_not_tell_its_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("bitlens.engine.bench.timing.os.getloadavg", raising=False)
    monkeypatch.delattr("bitlens.engine.bench.timing.os.sched_getaffinity", raising=False)
    assert load_average() is None
    assert cores() == os.cpu_count()
    done = bench(path, rounds=1)
    assert done.load is None and not done.notes


def test_images_are_what_the_net_takes() -> None:
    from dataclasses import replace

    graph = small_graph()
    assert random_image(graph, 2).dtype == np.float32
    assert random_image(graph, 2).shape == (2, 40, 6, 5)
    known = replace(graph, mean=(0.5,) * 40, std=(0.2,) * 40)
    assert random_image(known, 1).dtype == np.uint8
