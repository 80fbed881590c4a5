"""Weights below one bit: there and back, never larger, and what is no codebook is refused."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bitlens
from bitlens.engine.errors import BitsFileError
from bitlens.engine.file import format as bits
from bitlens.engine.file.codebook import (
    GROWTH,
    SPARE,
    Coded,
    Layer,
    code,
    coded_words,
    decode,
    index_bits,
)
from bitlens.engine.file.constants import share, stack
from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.table import table
from bitlens.engine.words import pack_blocks
from bitlens.models import create
from bitlens.models.layers import binary_layers

HOSTILE = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "hostile_files.py"))


def draw_signs(shape: tuple[int, int, int, int], patterns: int, seed: int) -> npt.NDArray[Any]:
    """Signs whose 3x3 kernels, or groups of 8 along a filter, are few patterns."""
    draw = np.random.default_rng(seed)
    o, *rest = shape
    length = 9 if tuple(rest[1:]) == (3, 3) else 8
    numbers = draw.choice(2**length, min(patterns, 2**length), replace=False)
    book = 2 * (numbers[:, None] >> np.arange(length) & 1) - 1
    flat = book[draw.integers(0, len(book), (o, -(-math.prod(rest) // length)))]
    return flat.reshape(o, -1)[:, : math.prod(rest)].reshape(shape)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.sampled_from(
        [(8, 4, 3, 3), (70, 33, 3, 3), (5, 8, 2, 3), (130, 17, 1, 1), (12, 6, 1, 5), (3, 1, 1, 1)]
    ),
    groups=st.sampled_from([1, 1, 1, 0]),
    patterns=st.sampled_from([1, 2, 3, 30, 64, 700]),
    seed=st.integers(0, 1000),
)
def test_words_come_back(
    shape: tuple[int, int, int, int], groups: int, patterns: int, seed: int
) -> None:
    groups = groups or shape[0]
    layer = Layer(shape=shape, groups=groups)
    signs = draw_signs(shape, patterns, seed)
    words = pack_blocks(signs, groups)
    coded = code(words, layer)
    np.testing.assert_array_equal(decode(coded, layer), words)
    assert coded.words.shape == (coded_words(layer, coded.book),)
    if layer.length == 9:
        kernels = {tuple(kernel) for kernel in signs.reshape(-1, 9).tolist()}
        assert coded.book in (len(kernels), 512)


def test_the_bits_are_laid_out_as_the_docstring_says() -> None:
    signs = -np.ones((4, 6, 9), np.int64)
    signs[0, 1, 0] = signs[1, 0, 0] = 1  # pattern 1, of kernels 1 and 6
    signs[3, 5, 8] = 1  # pattern 256, of kernel 23
    coded = code(pack_blocks(signs.reshape(4, 6, 3, 3)), Layer(shape=(4, 6, 3, 3), groups=1))
    book = 0 | 1 << 9 | 256 << 18
    indices = 1 << 2 * 1 | 1 << 2 * 6 | 2 << 2 * 23
    stream = (book | indices << 32).to_bytes(12, "little")
    assert coded.book == 3 and coded.words.astype("<u4").tobytes() == stream


def test_a_layer_that_uses_most_patterns_is_plain_bits() -> None:
    layer = Layer(shape=(8, 64, 3, 3), groups=1)
    signs = np.random.default_rng(0).choice([-1, 1], layer.shape)
    coded = code(pack_blocks(signs), layer)
    plain = np.packbits(signs.reshape(-1) > 0, bitorder="little")
    assert coded.book == 512
    assert coded.words.astype("<u4").tobytes() == plain.tobytes()


def graph_of(signs: npt.NDArray[Any]) -> Graph:
    """A sign and one binary convolution, 3x3 on 4x4 pixels or 1x1 on one."""
    o, cg, kh, kw = signs.shape
    side = 4 if kh == 3 else 1
    pads = (1, 1, 1, 1) if kh == 3 else (0, 0, 0, 0)
    nodes = (
        Node(
            name="sign",
            op="elementwise",
            inputs=("x",),
            shape=(side, side, cg),
            steps=(Step(op="sign", value="c", a="t"),),
        ),
        Node(
            name="conv",
            op="binary_conv",
            inputs=("c",),
            shape=(side, side, o),
            window=Window(kernel=(kh, kw), pads=pads),
            weights="w",
            steps=(Step(op="store", value="y"),),
        ),
    )
    values = {
        "x": Value(name="x", kind="float", shape=(side, side, cg)),
        "c": Value(name="c", kind="codes", shape=(side, side, cg)),
        "y": Value(name="y", kind="float", shape=(side, side, o)),
    }
    tensors = {"t": np.zeros(cg, np.float32), "w": pack_blocks(signs)}
    return Graph(nodes=nodes, values=values, tensors=tensors, input="x", output="y", output_rank=4)


def plain(graph: Graph) -> bytes:
    """The same file without codebooks, of schema 1."""
    return bits._file(*stack(share(graph)), {})


def schema(data: bytes) -> int:
    return HOSTILE["File"](data).header["schema"]


@pytest.mark.parametrize("patterns", [4, 64, 512])
def test_a_file_shrinks_by_the_bytes_expected_or_stays_as_it_was(patterns: int) -> None:
    graph = graph_of(draw_signs((128, 64, 3, 3), patterns, 1))
    data, before = bits.encode(graph), plain(graph)
    words = graph.tensors["w"].nbytes
    assert words == 128 * 64 * 9 // 8
    if patterns == 512:
        assert data == before and schema(data) == 1
    else:
        coded = 4 * math.ceil((8 * math.ceil(9 * patterns / 8) + 8192 * math.log2(patterns)) / 32)
        gain = words - coded
        assert len(before) - len(data) == pytest.approx(gain, abs=128), "a header of whole lines"
        assert schema(data) == 2
    for file in (data, before):
        back = bits.decode(file)
        np.testing.assert_array_equal(back.tensors["w"], graph.tensors["w"])
        assert not back.tensors["w"].flags.writeable
        assert bits.encode(back) == data
    found = table(graph)
    assert found.file_bytes == len(data)
    assert found.rows[0].file_bytes == words - (0 if patterns == 512 else gain)
    assert found.header_bytes > 0


def test_random_nets_never_become_larger(random_net: Callable[..., Graph]) -> None:
    smaller = 0
    for seed in range(20):
        graph = random_net(seed, 6)
        used = {n for node in graph.nodes for n in bits_names(node)}
        graph = replace(graph, tensors={k: v for k, v in graph.tensors.items() if k in used})
        data, before = bits.encode(graph), plain(graph)
        smaller += len(data) < len(before)
        assert data == before or len(data) < len(before)
        one, other = bits.decode(data), bits.decode(before)
        for name, tensor in one.tensors.items():
            np.testing.assert_array_equal(tensor, other.tensors[name])
    assert smaller


def bits_names(node: Node) -> list[str | None]:
    steps = [name for step in node.steps for name in (step.a, step.b)]
    return [node.weights, node.scale, node.zero, *steps]


def test_two_layers_of_equal_words_share_one_book() -> None:
    graph = graph_of(draw_signs((64, 64, 3, 3), 16, 2))
    again = replace(
        graph.nodes[1], name="conv#2", weights="w2", steps=(Step(op="store", value="z"),)
    )
    added = Node(
        name="sum",
        op="elementwise",
        inputs=("y",),
        shape=(4, 4, 64),
        steps=(Step(op="add_value", value="z"), Step(op="store", value="out")),
    )
    shape = (4, 4, 64)
    values = {name: Value(name=name, kind="float", shape=shape) for name in ("z", "out")}
    graph = replace(
        graph,
        nodes=(*graph.nodes, again, added),
        values=graph.values | values,
        tensors=graph.tensors | {"w2": graph.tensors["w"].copy()},
        output="out",
    )
    data = bits.encode(graph)
    assert HOSTILE["File"](data).header["codebooks"] == {"w": 16}
    assert {node.weights for node in bits.decode(data).nodes[1:3]} == {"w"}
    assert table(graph).file_bytes == len(data)


FEW = bits.encode(graph_of(draw_signs((64, 20, 3, 3), 5, 3)))
"""1280 indices of 3 bits into a book of 5: 6 bytes and 480, filled up to 122 words."""


def hostile(change: Callable[[Any, memoryview], None]) -> bytes:
    """The file with another header or other weights, under a digest that fits."""
    file = HOSTILE["File"](FEW)
    start, end = file.table["w"]["data_offsets"]
    assert file.header["codebooks"] == {"w": 5} and end - start == 488
    weights = bytearray(file.data[start:end])
    change(file, memoryview(weights))
    file.data[start:end] = weights
    return file.join()


def books(**given: Any) -> Callable[[Any, memoryview], None]:
    return lambda file, weights: file.header.update(codebooks=given)


def octet(at: int, value: int) -> Callable[[Any, memoryview], None]:
    def change(file: Any, weights: memoryview) -> None:
        weights[at] = value

    return change


def swapped(file: Any, weights: memoryview) -> None:
    """The first two patterns of the book change places."""
    book = int.from_bytes(weights[:6], "little")
    first, second = book & 511, book >> 9 & 511
    book ^= (first ^ second) | (first ^ second) << 9
    weights[:6] = book.to_bytes(6, "little")


def shaped(*shape: int) -> Callable[[Any, memoryview], None]:
    return lambda file, weights: file.table["w"].update(shape=list(shape))


def kernel(**fields: Any) -> Callable[[Any, memoryview], None]:
    return lambda file, weights: file.header["graph"]["nodes"][1].update(fields)


def overlapping(file: Any, weights: memoryview) -> None:
    for name in file.table:
        if name != "w":
            file.table[name]["data_offsets"] = [n - 4 for n in file.table[name]["data_offsets"]]


CASES: dict[str, tuple[Callable[[Any, memoryview], None], str]] = {
    "index beyond": (octet(6, 0o7), "'w': index 7 lies beyond a book of 5"),
    "last index beyond": (octet(485, 0o5 << 5), "index 5 lies beyond a book of 5"),
    "order": (swapped, "the patterns of the book do not rise"),
    "book filling": (octet(5, 0x80), "bits behind the last pattern are not zero|do not rise"),
    "filling": (octet(487, 1), "bits behind the last index are not zero"),
    "no book": (books(w=0), "0 is no number of patterns of 9 bits"),
    "negative": (books(w=-5), "-5 is no number of patterns"),
    "too large": (books(w=513), "513 is no number of patterns"),
    "half a pattern": (books(w=5.0), "no number of patterns"),
    "true": (books(w=True), "no number of patterns"),
    "text": (books(w="5"), "no number of patterns"),
    "other index width": (books(w=9), r"uint32 \(122,\); a book of 9"),
    "all patterns": (books(w=512), r"uint32 \(122,\); a book of 512"),
    "one pattern": (books(w=1), r"a book of 1 and its indices take uint32 \(1,\)"),
    "unknown tensor": (books(w=5, v=5), "'v': it is no weight of a binary convolution"),
    "a constant": (books(w=5, **{"f32.20": 5}), "no weight of a binary convolution"),
    "missing": (books(), r"tensor 'w' is uint32 \(122,\), it should be uint32 \(1, 9, 64\)"),
    "a list": (lambda file, weights: file.header.update(codebooks=["w"]), "not a JSON object"),
    "schema 1": (lambda file, weights: file.header.update(schema=1), "belong to schema 2"),
    "absent": (lambda file, weights: file.header.pop("codebooks"), "belong to schema 2"),
    "a matrix": (shaped(1, 122), r"uint32 \(1, 122\); a book of 5"),
    "fewer outputs": (kernel(shape=[4, 4, 63]), r"take uint32 \(120,\)"),
    "no outputs": (kernel(shape=[4, 4, 0]), "weights of .* mean nothing"),
    "negative outputs": (kernel(shape=[4, 4, -64]), "weights of .* mean nothing"),
    "groups": (kernel(groups=5), "mean nothing"),
    "no groups": (kernel(groups=0), "groups: 0 does not divide"),
    "another kernel": (kernel(window={"kernel": [1, 9]}), r"take uint32|is no number of patterns"),
    "a huge kernel": (kernel(window={"kernel": [2**40, 1]}), "mean nothing"),
    "another operation": (kernel(op="float_conv"), "no weight of a binary convolution"),
    "no input": (kernel(inputs=[]), "mean nothing"),
    "overlapping": (overlapping, "starts at"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_codebook_is_refused(case: str) -> None:
    change, message = CASES[case]
    with pytest.raises(BitsFileError, match=message):
        bits.decode(hostile(change))


def test_the_file_that_the_cases_damage_is_sound() -> None:
    assert bits.encode(bits.decode(hostile(lambda file, weights: None))) == FEW


def test_bits_beyond_a_filter_are_refused() -> None:
    graph = graph_of(draw_signs((64, 20, 1, 1), 3, 4))
    file = HOSTILE["File"](bits.encode(graph))
    layer = Layer(shape=(64, 20, 1, 1), groups=1)
    (book,) = file.header["codebooks"].values()
    start, end = file.table["w"]["data_offsets"]
    numbers = np.frombuffer(file.data[start:end], np.uint32)
    np.testing.assert_array_equal(
        decode(Coded(book=book, words=numbers), layer), graph.tensors["w"]
    )
    width = index_bits(book)
    at = 8 * (start + math.ceil(book * 8 / 8)) + 2 * width
    found = []
    for index in range(book):
        changed = bytearray(file.data)
        value = int.from_bytes(changed, "little")
        value = value & ~(((1 << width) - 1) << at) | index << at
        try:
            other = HOSTILE["File"](bits.encode(graph))
            other.data[:] = value.to_bytes(len(changed), "little")
            bits.decode(other.join())
        except BitsFileError as error:
            found.append(str(error))
    assert found and all("bits beyond a filter are not zero" in text for text in found)


def test_a_small_file_cannot_ask_for_many_words() -> None:
    """64 output channels of one pattern take a word and would make as many words as anybody likes."""
    graph = graph_of(np.ones((64, 8192, 3, 3), np.int64))
    coded = code(graph.tensors["w"], Layer(shape=(64, 8192, 3, 3), groups=1))
    assert coded.book == 1 and len(coded.words) == 1
    words = graph.tensors["w"].nbytes
    assert words > GROWTH * 4 + SPARE
    data = bits.encode(graph)
    assert data == plain(graph), "the writer keeps to the reader's limit"
    shared, tensors = stack(share(graph))
    forged = bits._file(shared, tensors | {"w": coded.words}, {"w": 1})
    with pytest.raises(BitsFileError, match=f"words of {words} bytes from 4; too many"):
        bits.decode(forged)


def test_a_sub_bit_net_packs_smaller_and_answers_alike(tmp_path: Path) -> None:
    net = create("mlp", method="subbit", classes=4, channels=1, image_size=8)
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    packed = bitlens.pack(net, images)
    packed.save(tmp_path / "net.bits")
    data = (tmp_path / "net.bits").read_bytes()
    assert schema(data) == 2
    # Two layers of 256 x 256 signs: 8192 indices of 6 bits and 64 patterns of 8, for 8192 bytes.
    gain = 2 * (8192 - (6144 + 64))
    assert len(plain(packed.graph)) - len(data) == pytest.approx(gain, abs=128)
    session = bitlens.load(tmp_path / "net.bits")
    assert torch.equal(session(images), bitlens.Session(packed.graph)(images))
    found = bitlens.signs(tmp_path / "net.bits")
    for name, layer in binary_layers(net).items():
        np.testing.assert_array_equal(found[name], layer.signs().numpy())
    assert packed.table.file_bytes == len(data)
