"""Damaged files: refused in so many words, or a graph that runs; never anything else."""

from __future__ import annotations

import json
import runpy
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.engine.errors import BitsFileError
from bitlens.engine.file.format import decode, encode
from bitlens.engine.file.header import to_json
from bitlens.engine.file.validate import check
from bitlens.engine.graph import Graph

HOSTILE = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "hostile_files.py"))
ORIGINAL = encode(HOSTILE["sample_graph"]())
LEVELS: dict[str, Callable[..., bytes]] = HOSTILE["LEVELS"]
EACH = 300


@pytest.mark.parametrize("level", LEVELS)
def test_damaged_files_are_refused_or_run(level: str) -> None:
    accepted = 0
    for index in range(EACH):
        draw = np.random.default_rng((1, index))
        data = LEVELS[level](ORIGINAL, draw)
        try:
            graph = decode(data)
        except BitsFileError as error:
            assert 10 < len(str(error)) < 1000
            continue
        accepted += 1
        check(graph)
        if HOSTILE["small"](graph):
            HOSTILE["runs"](graph, draw)
    assert accepted < EACH
    assert accepted or level == "bytes"


def test_damaged_random_nets(random_net: Callable[..., Graph]) -> None:
    for seed in range(30):
        graph = random_net(seed, 6)
        used = {
            name
            for n in graph.nodes
            for name in (n.weights, n.scale, n.zero, *(x for s in n.steps for x in (s.a, s.b)))
        }
        graph = replace(graph, tensors={k: v for k, v in graph.tensors.items() if k in used})
        original = encode(graph)
        for index in range(10):
            draw = np.random.default_rng((seed, index))
            try:
                back = decode(LEVELS["graph"](original, draw))
            except BitsFileError:
                continue
            if HOSTILE["small"](back):
                HOSTILE["runs"](back, draw)


def test_a_file_that_is_accepted_unsealed_says_what_the_original_says() -> None:
    """Under a digest that was not made anew only blank space of the header can change."""
    want = decode(ORIGINAL)
    found = 0
    for index in range(3000):
        data = LEVELS["bytes"](ORIGINAL, np.random.default_rng((2, index)))
        if data == ORIGINAL:
            continue
        try:
            graph = decode(data)
        except BitsFileError:
            continue
        found += 1
        assert to_json(graph) == to_json(want)
        assert list(graph.tensors) == list(want.tensors)
        for name, tensor in graph.tensors.items():
            np.testing.assert_array_equal(tensor, want.tensors[name])
    assert found < 300


def test_every_cut_is_noticed() -> None:
    for size in range(0, len(ORIGINAL), 97):
        with pytest.raises(BitsFileError):
            decode(ORIGINAL[:size])


def peak(data: bytes) -> int:
    """Most bytes that reading allocates at once."""
    tracemalloc.start()
    try:
        decode(data)
    except BitsFileError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


@pytest.mark.parametrize("level", LEVELS)
def test_reading_allocates_little(level: str) -> None:
    """Four times the file, and a constant for the machinery of JSON."""
    for index in range(60):
        data = LEVELS[level](ORIGINAL, np.random.default_rng((3, index)))
        assert peak(data) <= 4 * len(data) + 2**18


def test_a_stack_of_many_rows_costs_no_more_than_its_bytes() -> None:
    """Rows become arrays only where a node names them."""
    file = HOSTILE["File"](ORIGINAL)
    start = len(file.data)
    file.data += bytes(4_000_000)
    file.table["f32.1"] = {
        "dtype": "F32",
        "shape": [1_000_000, 1],
        "data_offsets": [start, start + 4_000_000],
    }
    data = file.join()
    assert peak(data) < 2**18
    with pytest.raises(BitsFileError, match=r"'f32\.1', or a row of it, is used by no node"):
        decode(data)


def with_shape(shape: list[int], place: list[int]) -> bytes:
    file = HOSTILE["File"](ORIGINAL)
    file.table["stem.w"].update(shape=shape, data_offsets=place)
    return file.join()


@pytest.mark.parametrize(
    "data",
    [
        with_shape([2**40, 2**40, 2**40, 1], [0, 216]),
        with_shape([2**31, 1, 1, 1], [0, 2**31]),
        with_shape([10**300], [0, 10**300]),
        (2**62).to_bytes(8, "little") + b"{" + bytes(100),
        (2**33).to_bytes(8, "little") + b"{" + bytes(100),
    ],
)
def test_a_huge_promise_allocates_nothing(data: bytes) -> None:
    assert peak(data) <= 4 * len(data) + 2**18
    with pytest.raises(BitsFileError):
        decode(data)


@pytest.mark.parametrize("part", [[], {}, {"a": 1}, 1.5, "ab", [[1]], {"a": {"b": []}}])
def test_json_that_grows_in_memory(part: Any) -> None:
    """Empty lists and the like take thirty times their text; not many get through."""
    for count in (3_000, 10_000, 100_000):
        file = HOSTILE["File"](ORIGINAL)
        file.header["graph"]["meta"] = {"a": [part] * count}
        data = file.join()
        assert peak(data) <= 4 * len(data) + 5 * 2**19


def test_a_large_header_is_not_parsed() -> None:
    body = b"{" + b" " * (2 << 20) + b"}"
    data = len(body).to_bytes(8, "little") + body
    with pytest.raises(BitsFileError, match=f"at most {1 << 20} are read"):
        decode(data)


def test_a_big_file_is_read_within_its_size() -> None:
    draw = np.random.default_rng(0)
    graph = HOSTILE["sample_graph"]()
    head = graph.nodes[-1]
    wide = replace(head, name="head", shape=(1, 1, 8192))
    tensors = {
        **graph.tensors,
        "head.w": draw.normal(size=(8192, 1, 1, 40)).astype(np.float32),
        "head.b": np.zeros(8192, np.float32),
    }
    values = {**graph.values, "logits": replace(graph.values["logits"], shape=(1, 1, 8192))}
    nodes = (*graph.nodes[:-1], wide)
    data = encode(replace(graph, nodes=nodes, tensors=tensors, values=values, labels=()))
    assert len(data) > 1_000_000
    assert peak(data) < len(data)


def test_nothing_is_imported_to_read() -> None:
    """Reading loads no code: neither pickle nor any module named in a file."""
    before = set(sys.modules)
    file = HOSTILE["File"](ORIGINAL)
    file.header["graph"]["nodes"][0]["op"] = "os.system"
    file.header["graph"]["meta"] = {"__reduce__": ["os.system", ["true"]], "import": "antigravity"}
    with pytest.raises(BitsFileError, match=r"'os\.system' is no operation"):
        decode(file.join())
    assert set(sys.modules) == before


def test_the_digest_covers_names_and_numbers() -> None:
    length = int.from_bytes(ORIGINAL[:8], "little")
    head: dict[str, Any] = json.loads(ORIGINAL[8 : 8 + length])
    for change in (
        lambda d: d["f32.4"].update(shape=[2, 2]),
        lambda d: d["f32.4"].update(dtype="U32") or d["u8.8"].update(dtype="I8"),
        lambda d: d.update({"f32.8": d["f32.8"] | {"shape": [16, 4]}}),
        lambda d: d["__metadata__"].update(
            bitlens=d["__metadata__"]["bitlens"].replace('"cat"', '"dog"')
        ),
    ):
        table = json.loads(json.dumps(head))
        change(table)
        packed = json.dumps(table).encode()
        with pytest.raises(BitsFileError, match="digest does not match"):
            decode(len(packed).to_bytes(8, "little") + packed + ORIGINAL[8 + length :])
