"""Files: there and back, what other readers see, and a clear word for what is no file of ours."""

from __future__ import annotations

import json
import os
import runpy
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from bitlens.engine.errors import BitsFileError
from bitlens.engine.file import format as bits
from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.reference.run import run
from bitlens.errors import BitlensError

HOSTILE = Path(__file__).parents[3] / "benchmarks" / "hostile_files.py"


@pytest.fixture(scope="module")
def sample_graph() -> Graph:
    """A small graph of all operations and steps."""
    return runpy.run_path(str(HOSTILE))["sample_graph"]()


def same(one: Graph, other: Graph) -> None:
    """Equal in all that a graph means: constants are compared by content, not by name."""
    for field in ("input", "output", "output_rank", "mean", "std", "labels", "meta", "values"):
        assert getattr(one, field) == getattr(other, field), field
    assert len(one.nodes) == len(other.nodes)
    for a, b in zip(one.nodes, other.nodes, strict=True):
        fresh = {"weights": None, "scale": None, "zero": None}
        plain = [
            replace(n, **fresh, steps=tuple(replace(s, a=None, b=None) for s in n.steps))
            for n in (a, b)
        ]
        assert plain[0] == plain[1]
        names = zip(named(a), named(b), strict=True)
        for first, second in names:
            assert (first is None) == (second is None)
            if first is not None:
                np.testing.assert_array_equal(one.tensors[first], other.tensors[second])


def named(node: Node) -> list[str | None]:
    steps = [name for step in node.steps for name in (step.a, step.b)]
    return [node.weights, node.scale, node.zero, *steps]


def test_there_and_back(sample_graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.bits"
    bits.write(sample_graph, path)
    back = bits.read(path)
    same(sample_graph, back)
    assert [p.name for p in tmp_path.iterdir()] == ["net.bits"]
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    before, after = run(sample_graph, image), run(back, image)
    for name, made in before.items():
        np.testing.assert_array_equal(made, after[name])
    bits.write(back, path)
    same(back, bits.read(path))


def test_the_same_graph_makes_the_same_bytes(sample_graph: Graph) -> None:
    assert bits.encode(sample_graph) == bits.encode(bits.decode(bits.encode(sample_graph)))


def test_safetensors_reads_it(sample_graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.bits"
    bits.write(sample_graph, path)
    back, loaded = bits.read(path), safetensors.numpy.load_file(path)
    assert {name for name in loaded if loaded[name].ndim > 2} < set(back.tensors)
    for name, tensor in back.tensors.items():
        stack, _, row = name.rstrip("]").partition("[")
        stored = loaded[stack][int(row)] if row else loaded[stack]
        if name in ("block.w", "unit.w"):
            assert stored.dtype == np.uint32 and stored.ndim == 1, "a codebook and its indices"
        else:
            np.testing.assert_array_equal(tensor, stored)
    np.testing.assert_array_equal(
        loaded["f32.4"], [back.tensors["f32.4[0]"]], err_msg="the bias of the last layer"
    )
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert set(metadata) == {"bitlens", "sha256"}
    assert json.loads(metadata["bitlens"])["schema"] == 2
    assert set(json.loads(metadata["bitlens"])["codebooks"]) == {"block.w", "unit.w"}


def test_a_file_that_safetensors_wrote_again_is_read(sample_graph: Graph, tmp_path: Path) -> None:
    """Another layout of the same tensors has another digest, and is refused for that alone."""
    data = bits.encode(sample_graph)
    tensors = safetensors.numpy.load(data)
    (tmp_path / "a.bits").write_bytes(data)
    with safe_open(tmp_path / "a.bits", "numpy") as file:
        metadata = file.metadata()
    safetensors.numpy.save_file(tensors, tmp_path / "b.bits", metadata)
    with pytest.raises(BitsFileError, match="digest does not match"):
        bits.read(tmp_path / "b.bits")


def big_graph() -> Graph:
    draw = np.random.default_rng(1)
    words = draw.integers(0, 2**32, (8, 9 * 64, 64), np.uint32)
    node = Node(
        name="conv",
        op="binary_conv",
        inputs=("c",),
        shape=(3, 3, 512),
        window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
        weights="w",
        steps=(Step(op="store", value="y"),),
    )
    first = Node(
        name="sign",
        op="elementwise",
        inputs=("x",),
        shape=(3, 3, 2048),
        steps=(Step(op="sign", value="c", a="t"),),
    )
    values = {
        "x": Value(name="x", kind="float", shape=(3, 3, 2048)),
        "c": Value(name="c", kind="codes", shape=(3, 3, 2048)),
        "y": Value(name="y", kind="float", shape=(3, 3, 512)),
    }
    return Graph(
        nodes=(first, node),
        values=values,
        tensors={"t": draw.normal(size=2048).astype(np.float32), "w": words},
        input="x",
        output="y",
        output_rank=4,
    )


def test_big_tensors_are_views_of_the_file_on_cache_lines(tmp_path: Path) -> None:
    path = tmp_path / "net.bits"
    bits.write(big_graph(), path)
    words = bits.read(path).tensors["w"]
    assert not words.flags.owndata and not words.flags.writeable
    assert words.ctypes.data % 64 == 0
    for tensor in bits.read(path).tensors.values():
        assert tensor.flags.aligned
    data = path.read_bytes()
    assert words.tobytes() in data
    # The map stays what it was when the file is replaced.
    kept = words.copy()
    bits.write(replace(big_graph(), meta={"new": True}), path)
    np.testing.assert_array_equal(words, kept)


def test_equal_constants_are_stored_once(sample_graph: Graph) -> None:
    ones = [np.ones(8, np.float32) for _ in range(3)]
    tensors = {**sample_graph.tensors, "stem.a": ones[0], "stem.b": ones[1], "block.scale": ones[2]}
    graph = replace(sample_graph, tensors=tensors)
    back = bits.decode(bits.encode(graph))
    assert len(back.tensors) == len(graph.tensors) - 2
    same(graph, back)


def test_constants_of_a_length_are_one_tensor(sample_graph: Graph) -> None:
    data = bits.encode(sample_graph)
    stacks = {k: v for k, v in safetensors.numpy.load(data).items() if v.ndim == 2}
    assert {k: v.shape for k, v in stacks.items()} == {
        "f32.8": (8, 8),
        "f32.3": (1, 3),
        "u8.8": (1, 8),
        "f32.10": (2, 10),
        "f32.4": (1, 4),
    }
    name = bits.decode(data).nodes[0].steps[0].a
    assert name is not None and name.startswith("f32.8[")
    np.testing.assert_array_equal(bits.decode(data).tensors[name], sample_graph.tensors["stem.a"])
    head = sample_graph.nodes[-1]
    taken = replace(
        sample_graph,
        nodes=(*sample_graph.nodes[:-1], replace(head, weights="f32.8")),
        tensors={("f32.8" if k == "head.w" else k): v for k, v in sample_graph.tensors.items()},
    )
    with pytest.raises(BitsFileError, match=r"'f32\.8' has the name of a stack"):
        bits.encode(taken)


def test_what_has_its_default_is_left_out(sample_graph: Graph) -> None:
    length = struct.unpack("<Q", bits.encode(sample_graph)[:8])[0]
    text = json.loads(bits.encode(sample_graph)[8 : 8 + length])["__metadata__"]["bitlens"]
    assert '"groups":1' not in text and '"low"' in text and "null" not in text
    nodes = json.loads(text)["graph"]["nodes"]
    assert nodes[5] == {
        "name": "joined",
        "op": "concat",
        "inputs": ["f2", "f3"],
        "output": "f5",
        "shape": [4, 4, 13],
    }


def test_infinities_and_numpy_numbers_survive(sample_graph: Graph) -> None:
    nodes = list(sample_graph.nodes)
    pad = next(i for i, node in enumerate(nodes) if node.op == "pad")
    nodes[pad] = replace(nodes[pad], attributes={**nodes[pad].attributes, "value": -np.inf})
    gated = next(i for i, node in enumerate(nodes) if node.name == "gated")
    steps = list(nodes[gated].steps)
    steps[1] = Step(op="clamp", low=float(np.float32(0.1)))
    steps[2] = replace(steps[2], scale=np.float32(0.1), zero=np.int64(7))
    nodes[gated] = replace(nodes[gated], steps=tuple(steps))
    back = bits.decode(bits.encode(replace(sample_graph, nodes=tuple(nodes))))
    assert back.nodes[pad].attributes["value"] == -np.inf
    clamp, quantize = back.nodes[gated].steps[1:3]
    assert (clamp.low, clamp.high) == (float(np.float32(0.1)), np.inf)
    assert (quantize.scale, quantize.zero) == (float(np.float32(0.1)), 7)
    assert type(quantize.zero) is int


@pytest.mark.parametrize("meta", [{"a": float("nan")}, {"a": object()}, {"a": {1, 2}}])
def test_meta_that_json_cannot_hold(sample_graph: Graph, meta: dict[str, Any]) -> None:
    with pytest.raises(BitsFileError, match="cannot be written as JSON"):
        bits.encode(replace(sample_graph, meta=meta))


def test_meta_that_nests_too_deeply(sample_graph: Graph) -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(BitsFileError, match="nests deeper than 32"):
        bits.encode(replace(sample_graph, meta=deep))
    for _ in range(4000):
        deep = {"a": deep}
    with pytest.raises(BitsFileError, match="cannot be written as JSON"):
        bits.encode(replace(sample_graph, meta=deep))


def test_no_file_without_a_whole_graph(sample_graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.bits"
    bits.write(sample_graph, path)
    before = path.read_bytes()
    with pytest.raises(BitsFileError, match="output"):
        bits.write(replace(sample_graph, output="nothing"), path)
    assert path.read_bytes() == before


def test_a_failed_write_keeps_the_old_file(
    sample_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.bits"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BitlensError, match=r"net\.bits cannot be written: No space left"):
        bits.write(sample_graph, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["net.bits"]


def test_places_where_no_file_can_be(sample_graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path, reason in (
        (tmp_path / "none" / "net.bits", "No such file"),
        (tmp_path / "file" / "net.bits", "Not a directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / ("n" * 300), "File name too long"),
        (tmp_path / "a\0b", "null byte"),
    ):
        with pytest.raises(BitlensError, match=f"cannot be written: .*{reason}"):
            bits.write(sample_graph, path)
        with pytest.raises(BitsFileError):
            bits.read(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_writers_at_the_same_time_leave_a_whole_file(sample_graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.bits"
    failed: list[BaseException] = []

    def work(index: int) -> None:
        try:
            bits.write(replace(sample_graph, meta={"writer": index}), path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    same(replace(sample_graph, meta=bits.read(path).meta), bits.read(path))
    assert [p.name for p in tmp_path.iterdir()] == ["net.bits"]


def with_header(graph: Graph, change: Any) -> bytes:
    """The file with another bitlens header and without a fitting digest."""
    data = bits.encode(graph)
    length = struct.unpack("<Q", data[:8])[0]
    table = json.loads(data[8 : 8 + length])
    table["__metadata__"]["bitlens"] = change(table["__metadata__"]["bitlens"])
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + data[8 + length :]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


CASES: dict[str, tuple[Any, str]] = {
    "empty": (lambda graph: b"", "it is empty"),
    "short": (lambda graph: b"abc", "not a .bits file"),
    "text": (lambda graph: b"hello, this is a text and no net\n" * 9, "not a .bits file"),
    "zip": (lambda graph: b"PK\x03\x04" + bytes(400), "not a .bits file"),
    "half": (lambda graph: cut(bits.encode(graph)), "cut off: it should have|cut off"),
    "header only": (lambda graph: bits.encode(graph)[:100], "cut off: the header should have"),
    "too long": (lambda graph: bits.encode(graph) + b"x", "too long"),
    "foreign": (
        lambda graph: safetensors.numpy.save({"a": np.zeros(3, np.float64)}, {"format": "pt"}),
        "safetensors file, but not of bitlens",
    ),
    "flipped": (lambda graph: bits.encode(graph)[:-1] + b"\x99", "digest does not match"),
    "newer": (
        lambda graph: with_header(
            graph,
            lambda text: text.replace('"schema":2,"bitlens":"0.1.0"', '"schema":3,"bitlens":"9.0"'),
        ),
        r"schema 3, written by bitlens '9\.0'.*reads schema 2: install a newer",
    ),
    "no schema": (
        lambda graph: with_header(graph, lambda text: text.replace('"schema":2,', "")),
        "no schema version",
    ),
    "not json": (lambda graph: with_header(graph, lambda text: text[:-5]), "not valid JSON"),
    "not object": (lambda graph: with_header(graph, lambda text: "[1]"), "not a JSON object"),
    "nan": (
        lambda graph: with_header(graph, lambda text: text.replace("0.5", "NaN")),
        "NaN is no JSON number",
    ),
    "twice": (
        lambda graph: with_header(graph, lambda text: '{"schema":1,' + text[1:]),
        "'schema' stands there twice",
    ),
    "deep": (
        lambda graph: with_header(graph, lambda text: "[" * 5_000),
        "not valid JSON: maximum recursion",
    ),
    "long number": (
        lambda graph: with_header(graph, lambda text: '{"schema":' + "9" * 10_000 + "}"),
        "not valid JSON",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_whole_file(case: str, sample_graph: Graph, tmp_path: Path) -> None:
    make, message = CASES[case]
    path = tmp_path / "net.bits"
    path.write_bytes(make(sample_graph))
    with pytest.raises(BitsFileError, match=message) as caught:
        bits.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_newer_schema_is_named_before_the_digest(sample_graph: Graph) -> None:
    data = with_header(sample_graph, lambda text: text.replace('"schema":2', '"schema":7'))
    with pytest.raises(BitsFileError, match="schema 7"):
        bits.decode(data)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BitsFileError, match=r"nothing\.bits: there is no such file"):
        bits.read(tmp_path / "nothing.bits")
    with pytest.raises(BitsFileError, match="it is a folder"):
        bits.read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BitsFileError, match="no ordinary file"):
        bits.read(tmp_path / "pipe")


def test_pickle_is_never_loaded(tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return runpy.run_path, ("trap.py",)

    (tmp_path / "net.bits").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BitsFileError, match=r"not a \.bits file"):
        bits.read(tmp_path / "net.bits")


def test_a_number_type_that_is_not_held(sample_graph: Graph) -> None:
    tensors = {**sample_graph.tensors, "stem.a": np.zeros(8)}
    with pytest.raises(BitsFileError, match=r"'stem.a' is float64 \(8,\), it should be float32"):
        bits.encode(replace(sample_graph, tensors=tensors))


def test_reading_needs_no_torch(sample_graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.bits"
    bits.write(sample_graph, path)
    program = (
        "import sys; from bitlens.engine import counts, signs, table; from bitlens.engine.file import format;"
        "from bitlens.engine.reference import run;"
        f"graph = format.read({str(path)!r}); table.table(graph); signs.signs(graph);"
        "heavy = {'torch', 'numba', 'scipy', 'pandas', 'datasets'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    source = str(Path(bits.__file__).parents[3])
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": source}
    )
