"""What a tile accumulates for one node: terms, weights, and the tables that turn the sum into t."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import BLOCK, LANES, Graph, Node
from bitlens.engine.kernels import rows as r
from bitlens.engine.run import layout
from bitlens.engine.run.borders import Classes, classes, one_class
from bitlens.engine.run.memory import Place
from bitlens.engine.words import unpack_blocks, unpack_rows, words_for

Array = npt.NDArray[Any]
PART = 1 << 15
"""Weights taken to float64 at once."""


@dataclass(frozen=True, kw_only=True)
class Accumulator:
    """The constants of a tiled row, before they have addresses.

    Attributes:
        opcode: which tile.
        channels: output channels.
        groups: groups, after the merging of small ones.
        offsets: int64 (terms + 4 * loose,), bytes from the window's first byte.
        loose: terms of four bytes with an offset each, after the others.
        group_step: bytes of the input from one group to the next.
        weights: blocks of weights, or None.
        gain: float32 (channels,), or None.
        table: (classes, channels), int32 where signs are counted, else float32; or None.
        steps: bytes into the table for each output row and each output column.
        first, start: where the first output channel, and the first byte of the input, lie in a pixel.
        rest: groups that were over when the others were merged, for a row of their own.
    """

    opcode: int
    channels: int
    groups: int = 1
    offsets: Array
    loose: int = 0
    group_step: int = 0
    weights: Array | None = None
    gain: Array | None = None
    table: Array | None = None
    steps: tuple[Array, Array]
    first: int = 0
    start: int = 0
    rest: Accumulator | None = None


def whole_channels(numbers: Array, fill: float = 0.0) -> Array:
    """Numbers (..., c) in float32, filled up to whole blocks and one more."""
    return _whole(numbers, fill, np.float32)


def _whole(numbers: Array, fill: float, dtype: npt.DTypeLike) -> Array:
    channels = numbers.shape[-1]
    wide = np.full((*numbers.shape[:-1], BLOCK * (-(-channels // BLOCK) + 1)), fill, dtype)
    wide[..., :channels] = numbers
    return wide


def direct(node: Node, channels: int) -> bool:
    """Whether a binary convolution's signs are read as they lie."""
    return node.groups == 1 or (channels // node.groups % 32 == 0 and whole_groups(node))


def whole_groups(node: Node) -> bool:
    """Whether a group's output channels fill whole vectors."""
    return node.groups == 1 or node.shape[2] // node.groups % LANES == 0


def accumulator(graph: Graph, node: Node, source: Place) -> Accumulator:
    """The accumulator of a tiled node that reads the place `source`."""
    return _MAKERS[node.op](graph, node, source)


def _offsets(node: Node, source: Place, within: Array) -> Array:
    """Bytes to each term: window row, window column, then `within` a pixel."""
    window = node.window
    rows = np.arange(window.kernel[0], dtype=np.int64) * window.dilation[0] * source.row
    columns = np.arange(window.kernel[1], dtype=np.int64) * window.dilation[1] * source.pixel
    return (rows[:, None, None] + columns[:, None] + within).reshape(-1)


def _no_classes(node: Node) -> tuple[Array, Array]:
    return np.zeros(node.shape[0], np.int64), np.zeros(node.shape[1], np.int64)


def _binary(graph: Graph, node: Node, source: Place) -> Accumulator:
    packed = graph.tensors[str(node.weights)]
    o, (kh, kw) = node.shape[2], node.window.kernel
    cg = graph.values[node.inputs[0]].shape[2] // node.groups
    if source.kind == "u8":
        return _expanded(graph, node, source, cg)
    sums = layout.tap_sums(packed, (o, kh, kw, cg), node.groups)
    kinds = _sides(graph, node) if node.pad != -1 else one_class(node)
    outside = sums.sum((1, 2)) - kinds.inside_sums(sums)
    length = np.float64(cg * kh * kw)
    # Bits of padded positions are zero and count as -1; the table turns that into what they mean.
    table = length + (node.pad + 1) * outside
    gain = 1.0
    if node.unit:
        table, gain = table + sums.sum((1, 2)), 0.5
    words = words_for(cg)
    offsets = _offsets(node, source, 4 * np.arange(words, dtype=np.int64))
    weights = layout.where_it_lies(packed)
    if np.any(table % 2):
        # Half of an odd number is no integer: all words are counted twice instead.
        offsets, weights = np.tile(offsets, 2), layout.aligned(np.tile(packed, (1, 2, 1)))
    else:
        table, gain = table / 2, 2 * gain
    table = _whole(table, 0, np.int32)
    return Accumulator(
        opcode=r.POPCOUNT,
        channels=o,
        groups=node.groups,
        offsets=offsets,
        group_step=4 * words,
        weights=weights,
        gain=whole_channels(np.full(o, gain)),
        table=table,
        steps=kinds.steps(4 * table.shape[-1]),
    )


def _expanded(graph: Graph, node: Node, source: Place, cg: int) -> Accumulator:
    """Signs as bytes 0 and 1: of small groups, which words of 32 signs do not fit."""
    packed = graph.tensors[str(node.weights)]
    signs = unpack_blocks(packed, (node.shape[2], cg, *node.window.kernel), node.groups)
    filters = signs.transpose(0, 2, 3, 1)
    taps = filters.sum(3, dtype=np.int64)
    kinds = _sides(graph, node)
    inside = kinds.inside_sums(taps)
    outside = taps.sum((1, 2)) - inside
    if node.unit:
        table, gain = (node.pad + 1) / 2 * outside, 1.0
    else:
        table, gain = node.pad * outside - inside, 2.0
    return _dot(node, source, filters, np.full(node.shape[2], gain), table, kinds)


def _int8(graph: Graph, node: Node, source: Place) -> Accumulator:
    weights, scale, zero = (graph.tensors[str(n)] for n in (node.weights, node.scale, node.zero))
    o, cg = weights.shape[0], weights.shape[3]
    taps = np.empty((node.groups, o // node.groups * math.prod(node.window.kernel)))
    rows = weights.reshape(*taps.shape, cg)
    zeros = zero.astype(np.float64).reshape(node.groups, cg)
    some = max(1, PART // cg)
    for group, first in np.ndindex(node.groups, -(-taps.shape[1] // some)):
        part = slice(first * some, (first + 1) * some)
        taps[group, part] = (rows[group, part].astype(np.float64) * zeros[group]).sum(-1)
    taps = taps.reshape(o, *node.window.kernel)
    kinds = _sides(graph, node)
    table = -scale.astype(np.float64) * kinds.inside_sums(taps)
    return _dot(node, source, weights, scale, table, kinds)


def _dot(
    node: Node, source: Place, weights: Array, gain: Array, table: Array, kinds: Classes
) -> Accumulator:
    def of_run(run: _Run) -> Accumulator:
        merged, channels = run.weights, slice(run.first, run.first + len(run.weights))
        cg = merged.shape[3]
        # Where a group is the whole pixel, a row of the window is one run of bytes.
        if cg == source.pixel and node.window.dilation[1] == 1:
            offsets, blocks, loose = _runs(node, source, merged)
        else:
            offsets = _offsets(node, source, 4 * np.arange(-(-cg // 4), dtype=np.int64))
            blocks, loose = layout.dot_blocks(merged, run.groups), 0
        wide = whole_channels(table[..., channels])
        return Accumulator(
            opcode=r.DOT,
            channels=len(merged),
            groups=run.groups,
            offsets=offsets,
            loose=loose,
            group_step=cg,
            weights=blocks,
            gain=whole_channels(gain[channels]),
            table=wide,
            steps=kinds.steps(4 * wide.shape[-1]),
            first=run.first,
            start=run.start,
        )

    return _chain([of_run(run) for run in _joined(node, weights)])


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Groups that are merged alike: their weights, how many are left, first output and input channel."""

    weights: Array
    groups: int
    first: int
    start: int


def _joined(node: Node, weights: Array) -> Iterator[_Run]:
    each, cg, group = len(weights) // node.groups, weights.shape[3], 0
    for count, together in layout.joined_groups(node.groups, each):
        part = weights[group * each : (group + count) * each]
        merged = layout.merge_groups(part, count, together)
        yield _Run(weights=merged, groups=count // together, first=group * each, start=group * cg)
        group += count


def _chain(sums: list[Accumulator]) -> Accumulator:
    return sums[0] if len(sums) == 1 else replace(sums[0], rest=sums[1])


def _runs(node: Node, source: Place, weights: Array) -> tuple[Array, Array, int]:
    """Offsets, blocks and number of loose terms where a row of the window is one run of bytes.

    What a run has beyond fours of bytes goes, with that of other rows, into loose terms: a fourth of a
    term for a byte instead of a term.
    """
    o, kh, kw, cg = weights.shape
    length = kw * cg
    whole = length // 4 * 4
    starts = np.arange(kh, dtype=np.int64)[:, None] * node.window.dilation[0] * source.row
    fours = (starts + np.arange(0, whole, 4)).reshape(-1)
    bytes_ = (starts + np.arange(whole, length)).reshape(-1)
    empty = -bytes_.size % 4
    runs = weights.reshape(o, kh, length)
    ordered = [runs[:, :, :whole].reshape(o, -1), runs[:, :, whole:].reshape(o, -1)]
    ordered.append(np.zeros((o, empty), np.int8))
    offsets = np.concatenate([fours, bytes_, np.zeros(empty, np.int64)])
    blocks = layout.blocked(np.concatenate(ordered, axis=1).reshape(o, -1, 4), 1)
    return offsets, blocks, (bytes_.size + empty) // 4


def _multiply(node: Node, source: Place, weights: Array) -> Accumulator:
    def of_run(run: _Run) -> Accumulator:
        cg = run.weights.shape[3]
        return Accumulator(
            opcode=r.MULTIPLY,
            channels=len(run.weights),
            groups=run.groups,
            offsets=_offsets(node, source, 4 * np.arange(cg, dtype=np.int64)),
            group_step=4 * cg,
            weights=layout.multiply_blocks(run.weights, run.groups),
            steps=_no_classes(node),
            first=run.first,
            start=4 * run.start,
        )

    return _chain([of_run(run) for run in _joined(node, weights)])


def _float(graph: Graph, node: Node, source: Place) -> Accumulator:
    return _multiply(node, source, graph.tensors[str(node.weights)])


def _signed(graph: Graph, node: Node, source: Place) -> Accumulator:
    words = graph.tensors[str(node.weights)]
    cg = source.shape[2] // node.groups
    if not whole_groups(node):
        return _multiply(node, source, unpack_rows(words, cg).transpose(0, 2, 3, 1))
    return Accumulator(
        opcode=r.SIGNED,
        channels=node.shape[2],
        groups=node.groups,
        offsets=_offsets(node, source, 4 * np.arange(cg, dtype=np.int64)),
        group_step=4 * cg,
        weights=layout.signed_blocks(words, cg, node.groups),
        steps=_no_classes(node),
    )


def _maximum(graph: Graph, node: Node, source: Place) -> Accumulator:
    zero = np.zeros(1, np.int64)
    return Accumulator(
        opcode=r.MAXIMUM,
        channels=node.shape[2],
        offsets=_offsets(node, source, zero),
        steps=_no_classes(node),
    )


def _sum(graph: Graph, node: Node, source: Place) -> Accumulator:
    count: Any = node.attributes.get("count", "inside")
    kinds = one_class(node)
    if isinstance(count, str):
        padding: Any = node.attributes.get("padding", (0, 0)) if count == "padded" else (0, 0)
        height, width, _ = graph.values[node.inputs[0]].shape
        kinds = classes(node, (height, width), (int(padding[0]), int(padding[1])))
        divisors = np.multiply.outer(kinds.rows.sum(1), kinds.columns.sum(1)).astype(np.float64)
    else:
        divisors = np.full((1, 1), count, np.float64)
    # A divisor of 1 in the lanes beyond the channels keeps them finite.
    table = whole_channels(np.repeat(divisors[:, :, None], source.shape[2], axis=2), 1.0)
    return Accumulator(
        opcode=r.SUM,
        channels=node.shape[2],
        offsets=_offsets(node, source, np.zeros(1, np.int64)),
        table=table,
        steps=kinds.steps(4 * table.shape[-1]),
    )


def _sides(graph: Graph, node: Node) -> Classes:
    if not any(node.window.pads):
        return one_class(node)
    height, width, _ = graph.values[node.inputs[0]].shape
    return classes(node, (height, width))


_MAKERS: dict[str, Callable[[Graph, Node, Place], Accumulator]] = {
    "binary_conv": _binary,
    "int8_conv": _int8,
    "float_conv": _float,
    "sign_conv": _signed,
    "max_pool": _maximum,
    "elementwise": _maximum,
    "avg_pool": _sum,
}
