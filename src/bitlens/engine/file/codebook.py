"""Signs of a binary convolution as a book of patterns and an index for each: below one bit a weight.

The signs of a 3x3 kernel are one pattern of 9 bits, bit j set where entry j, row by row, is +1; those of
any other layer are cut, filter by filter in the order torch holds them, into patterns of 8, the last of a
filter filled up with zeros. A layer that uses few patterns is smaller as

    book       K patterns in rising order, bit behind bit, filled up to a whole byte
    indices    ceil(log2 K) bits for each pattern of the layer, bit behind bit

with lowest bits first and zeros up to a whole 32-bit word. Where K is all patterns there are, the book is
left out and an index is its pattern: plain bits, without what blocks and words of narrow layers fill up.

Only the file holds this form. Reading makes the words of `words.py` again, once, in memory of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.file.limits import SIDE_LIMIT, VALUE_LIMIT, is_whole
from bitlens.engine.graph import BLOCK, Node, Value
from bitlens.engine.words import Words, block_shape, blocks_for, pack_channels, unpack_blocks

KERNEL, GROUP = 9, 8
"""Bits of a pattern: of a 3x3 kernel, and of any other layer."""

GROWTH, SPARE = 16, 1 << 17
"""All words of a file together are at most so many times the bytes they are read from, and so many bytes:
a small file cannot make reading allocate a lot."""

_PART = 1 << 14
"""Signs that reading holds at once."""

Octets = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a binary convolution's weights measure: (o, cg, kh, kw) as torch holds them, and its groups."""

    shape: tuple[int, int, int, int]
    groups: int

    @property
    def length(self) -> int:
        """Bits of a pattern."""
        return KERNEL if self.shape[2:] == (3, 3) else GROUP

    @property
    def patterns(self) -> int:
        """Patterns of a filter."""
        return -(-math.prod(self.shape[1:]) // self.length)

    @property
    def word_bytes(self) -> int:
        """Bytes of the weights in words."""
        return 4 * math.prod(block_shape(self.shape, self.groups))


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A layer's weights in the form of the file: the size of the book, and book and indices (n,)."""

    book: int
    words: Words


def index_bits(book: int) -> int:
    """Bits of an index into a book of so many patterns."""
    return (book - 1).bit_length()


def book_bytes(layer: Layer, book: int) -> int:
    """Bytes of the book itself."""
    return 0 if book == 1 << layer.length else -(-book * layer.length // 8)


def coded_words(layer: Layer, book: int) -> int:
    """32-bit words of book and indices."""
    indices = layer.shape[0] * layer.patterns * index_bits(book)
    return -(-(8 * book_bytes(layer, book) + indices) // 32)


def code(words: npt.NDArray, layer: Layer) -> Coded:
    """The smallest form of a layer's words, which may still be larger than the words."""
    signs = unpack_blocks(words, layer.shape, layer.groups).reshape(layer.shape[0], -1) > 0
    beyond = layer.patterns * layer.length - signs.shape[1]
    bits = np.pad(signs, [(0, 0), (0, beyond)]).reshape(-1, layer.length)
    numbers = bits @ (1 << np.arange(layer.length))
    used, index = np.unique(numbers, return_inverse=True)
    every = 1 << layer.length
    if coded_words(layer, every) <= coded_words(layer, len(used)):
        return Coded(book=every, words=_whole_words(_packed(numbers, layer.length)))
    parts = _packed(used, layer.length), _packed(index.reshape(-1), index_bits(len(used)))
    return Coded(book=len(used), words=_whole_words(np.concatenate(parts)))


def _whole_words(octets: Octets) -> Words:
    filled = np.pad(octets, (0, -len(octets) % 4))
    return filled.view("<u4").astype(np.uint32, copy=False)


def _packed(numbers: npt.NDArray[np.integer], width: int) -> Octets:
    bits = (numbers[:, None] >> np.arange(width)) & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little")


def _numbers(octets: Octets, first: int, count: int, width: int) -> npt.NDArray[np.int64]:
    """`count` numbers of `width` bits from number `first` on."""
    start, end = first * width, (first + count) * width
    bits = np.unpackbits(octets[start // 8 : -(-end // 8)], bitorder="little")
    return bits[start % 8 :][: count * width].reshape(count, width) @ (1 << np.arange(width))


def decode(coded: Coded, layer: Layer) -> Words:
    """Undo `code`.

    Args:
        coded: its words are as many as `coded_words` says.
        layer: what the weights measure.

    Raises:
        BitsFileError: patterns out of order, an index beyond the book, or bits set where nothing is.
    """
    octets = np.ascontiguousarray(coded.words, "<u4").view(np.uint8)
    own, width = book_bytes(layer, coded.book), index_bits(coded.book)
    book, indices = _book(octets[:own], coded.book, layer.length), octets[own:]
    if _set_beyond(indices, layer.shape[0] * layer.patterns * width):
        raise BitsFileError("bits behind the last index are not zero")
    made = np.zeros(block_shape(layer.shape, layer.groups), np.uint32)
    step = max(_PART // (layer.patterns * layer.length), 1)
    for first in range(0, layer.shape[0], step):
        filters = np.arange(first, min(first + step, layer.shape[0]))
        count = len(filters) * layer.patterns
        index = _numbers(indices, first * layer.patterns, count, width)
        if index.max() >= coded.book:
            raise BitsFileError(f"index {index.max()} lies beyond a book of {coded.book}")
        _place(made, filters, book[index].reshape(len(filters), -1), layer)
    return made


def _book(octets: Octets, size: int, length: int) -> npt.NDArray[np.bool_]:
    """Patterns as bits, (size, length)."""
    numbers = np.arange(size)
    if size < 1 << length:
        if _set_beyond(octets, size * length):
            raise BitsFileError("bits behind the last pattern are not zero")
        numbers = _numbers(octets, 0, size, length)
        if (np.diff(numbers) <= 0).any():
            raise BitsFileError("the patterns of the book do not rise")
    return (numbers[:, None] >> np.arange(length)) & 1 > 0


def _set_beyond(octets: Octets, bits: int) -> bool:
    """Whether a bit is set beyond the first `bits`."""
    whole, used = divmod(bits, 8)
    rest = octets[whole:]
    return bool(len(rest) and (rest[0] >> used or rest[1:].any()))


def _place(
    made: Words, filters: npt.NDArray[np.integer], bits: npt.NDArray[np.bool_], layer: Layer
) -> None:
    """Write some filters' signs, given as bits (f, patterns * length), into their blocks."""
    o, *rest = layer.shape
    size = math.prod(rest)
    if bits[:, size:].any():
        raise BitsFileError("bits beyond a filter are not zero")
    signs = 2 * bits[:, :size].astype(np.int8) - 1
    rows = pack_channels(signs.reshape(-1, *rest).transpose(0, 2, 3, 1))
    group, place = np.divmod(filters, o // layer.groups)
    block = group * blocks_for(o // layer.groups) + place // BLOCK
    made[block, :, place % BLOCK] = rows.reshape(len(filters), -1)


def choose(
    nodes: Iterable[Node], values: Mapping[str, Value], tensors: Mapping[str, npt.NDArray[Any]]
) -> dict[str, Coded]:
    """The weights that are smaller in this form, by the name of their tensor.

    Args:
        nodes: of a graph that passes `validate.check`.
        values: of the same graph.
        tensors: of the same graph, by the names that its nodes give them.
    """
    found, spare = {}, SPARE
    for name, layer in _layers(nodes, values):
        coded = code(tensors[name], layer)
        size = coded.words.nbytes
        excess = max(layer.word_bytes - GROWTH * size, 0)
        told = len(json.dumps(f',"{name}":{coded.book}'))
        if size + told < layer.word_bytes and excess <= spare:
            spare -= excess
            found[name] = coded
    return found


def _layers(nodes: Iterable[Node], values: Mapping[str, Value]) -> Iterator[tuple[str, Layer]]:
    """Every tensor of a binary convolution's weights, with what the first that names it measures."""
    seen: set[str] = set()
    for node in nodes:
        name = node.weights
        if node.op == "binary_conv" and name is not None and name not in seen:
            seen.add(name)
            taken = values.get(node.inputs[0]) if node.inputs else None
            channels = 0 if taken is None else taken.shape[2]
            groups = node.groups if is_whole(node.groups, 1) else 1
            shape = (node.shape[2], channels // groups, *node.window.kernel)
            yield name, Layer(shape=shape, groups=groups)


def expand(
    books: Mapping[str, Any],
    nodes: Iterable[Node],
    values: Mapping[str, Value],
    stored: Mapping[str, npt.NDArray[Any]],
) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a file with words in place of the coded ones.

    Args:
        books: size of the book by tensor, as the header says.
        nodes: of the graph, whose fields have the right types and nothing more.
        values: of the same graph.
        stored: the tensors of the file.

    Raises:
        BitsFileError: naming the tensor; nothing is allocated before sizes are known to be sound.
    """
    layers, given = dict(_layers(nodes, values)), dict(stored)
    promised, held = 0, 0
    for name, book in books.items():
        where = f"codebooks, {shown(name)}"
        if name not in stored or name not in layers:
            raise BitsFileError(f"{where}: it is no weight of a binary convolution")
        _measured(layers[name], book, stored[name], where)
        promised, held = promised + layers[name].word_bytes, held + stored[name].nbytes
        if promised > GROWTH * held + SPARE:
            raise BitsFileError(f"{where}: words of {promised} bytes from {held}; too many")
    for name, book in books.items():
        try:
            given[name] = decode(Coded(book=book, words=stored[name]), layers[name])
        except BitsFileError as error:
            raise BitsFileError(f"codebooks, {shown(name)}: {error}") from None
        given[name].flags.writeable = False
    return given


def _measured(layer: Layer, book: Any, tensor: npt.NDArray[Any], where: str) -> None:
    o, cg, *kernel = layer.shape
    sound = is_whole(o, 1, VALUE_LIMIT) and is_whole(cg, 1, VALUE_LIMIT) and o % layer.groups == 0
    if not sound or not all(is_whole(side, 1, SIDE_LIMIT) for side in kernel):
        raise BitsFileError(f"{where}: weights of {shown(layer.shape)} mean nothing")
    if not is_whole(book, 1, 1 << layer.length):
        raise BitsFileError(
            f"{where}: {shown(book)} is no number of patterns of {layer.length} bits"
        )
    expected = coded_words(layer, book)
    if tensor.dtype != np.uint32 or tensor.shape != (expected,):
        raise BitsFileError(
            f"{where}: the tensor is {tensor.dtype} {tensor.shape}; a book of {book} and its indices "
            f"take uint32 ({shown(expected)},)"
        )
