"""How much memory a plan may take, told before any of it is allocated.

A file decides about windows, borders and groups, and some of them cost far more memory than the file is
long: a window of a million positions, an image whose every row has a border of its own.
"""

from __future__ import annotations

import math

from bitlens.engine.graph import BLOCK, TILED, Graph, Node
from bitlens.engine.run.accumulate import direct, whole_groups
from bitlens.engine.run.borders import spans
from bitlens.engine.run.layout import joined_groups
from bitlens.engine.words import blocks_for, words_for
from bitlens.errors import BitlensError

MOST_ARENA = 1 << 32
"""Bytes for the values of one image."""

GROWTH, SPARE = 4, 16 << 20
"""Tables and re-laid weights may take so many times the bytes of the net's tensors, and so many more."""


def check_arena(size: int) -> None:
    """Refuse an arena that is too large.

    Raises:
        BitlensError: naming the size.
    """
    if size > MOST_ARENA:
        raise BitlensError(
            f"the values of one image take {size / 1e6:.0f} MB at once, and a session "
            f"allows {MOST_ARENA / 1e6:.0f} MB; pack the net for smaller images"
        )


def check_tables(graph: Graph) -> None:
    """Refuse a net whose tables and re-laid weights would take much more than its file.

    Raises:
        BitlensError: naming the node and the size.
    """
    stored = sum(tensor.nbytes for tensor in graph.tensors.values())
    most = GROWTH * stored + SPARE
    total, largest = 0, 0
    for node in graph.nodes:
        kept, passing = table_bytes(graph, node)
        total, largest = total + kept, max(largest, passing)
        if total + largest > most:
            raise BitlensError(
                f"node {node.name!r}: weights and tables of the program take "
                f"{(total + largest) / 1e6:.0f} MB up to here, and a net of {stored / 1e6:.1f} MB may take "
                f"{most / 1e6:.0f} MB; its window, borders or groups are too many"
            )


def table_bytes(graph: Graph, node: Node) -> tuple[int, int]:
    """Bytes that the tables and weights of a node take: kept, and for a moment while they are made."""
    height, width, channels = node.shape
    if node.op not in TILED:
        return 24 * (height + width), 24 * (height + width)
    area = math.prod(node.window.kernel)
    kept, passing, within = _weights(graph, node, area)
    kept += 8 * area * within + 16 * (height + width)
    rows, columns = _classes(graph, node)
    lanes = BLOCK * (blocks_for(channels) + 1)
    kept += 4 * rows * columns * lanes
    passing += 24 * rows * columns * lanes + 9 * sum(
        classes * size for classes, size in zip((rows, columns), node.window.kernel, strict=True)
    )
    return kept, passing + 8 * area * within


def _classes(graph: Graph, node: Node) -> tuple[int, int]:
    if node.op not in ("binary_conv", "int8_conv", "avg_pool"):
        return 0, 0
    size, extent = graph.values[node.inputs[0]].shape, (0, 0)
    if node.op == "avg_pool":
        count, padding = node.attributes.get("count", "inside"), node.attributes.get("padding")
        if not isinstance(count, str):
            return 1, 1
        if count == "padded" and isinstance(padding, tuple | list):
            extent = int(padding[0]), int(padding[1])
    elif not any(node.window.pads):
        return 1, 1
    rows, columns = (
        len(spans(node.window, axis, node.shape[axis], size[axis], extent[axis])[0])
        for axis in (0, 1)
    )
    return rows, columns


def _weights(graph: Graph, node: Node, area: int) -> tuple[int, int, int]:
    """Bytes of a node's weights, kept and in passing, and terms of one position of its window."""
    if node.weights is None:
        return 0, 0, 1
    stored, channels = graph.tensors[node.weights].nbytes, graph.values[node.inputs[0]].shape[2]
    cg, each = channels // node.groups, node.shape[2] // node.groups
    sums = 16 * area * node.shape[2]
    if node.op == "binary_conv" and (direct(node, channels) or whole_groups(node)):
        return 2 * stored, 2 * stored + sums, 2 * words_for(cg)
    if node.op == "sign_conv" and whole_groups(node):
        return 8 * node.groups * blocks_for(each) * area * cg, stored + sums, cg
    item = 4 if node.op in ("float_conv", "sign_conv") else 1
    kept, within, wide = 0, 0, 0
    for count, joined in joined_groups(node.groups, each):
        terms = -(-cg * joined // 4) * 4
        kept += item * (count // joined) * blocks_for(joined * each) * BLOCK * area * terms
        wide += item * count * each * area * terms
        within += terms
    return kept, 2 * wide + sums, within
