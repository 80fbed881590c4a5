"""The figures of a measurement hang together; none is compared with a clock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bitlens.engine.bench.bench import PACKED, bench, random_image
from bitlens.engine.bench.peers import PEERS, MissingPackage
from bitlens.engine.file.format import write
from bitlens.engine.graph import Graph, Node, Step, Value, Window
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
    monkeypatch.setattr("bitlens.engine.bench.bench.os.getloadavg", lambda: (3.21, 0, 0))
    assert any("load average 3.2" in note for note in bench(path, rounds=1).notes)
    monkeypatch.setattr("bitlens.engine.bench.bench.os.getloadavg", lambda: (0.1, 9, 9))
    assert not bench(path, rounds=1).notes


def test_images_are_what_the_net_takes() -> None:
    from dataclasses import replace

    graph = small_graph()
    assert random_image(graph, 2).dtype == np.float32
    assert random_image(graph, 2).shape == (2, 40, 6, 5)
    known = replace(graph, mean=(0.5,) * 40, std=(0.2,) * 40)
    assert random_image(known, 1).dtype == np.uint8
