"""A convolution and the pooling behind it, a few rows at a time, over a ring of rows in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bitlens.engine.graph import TILED, Graph, Node, Value
from bitlens.engine.run.memory import Place, pixel_bytes

BAND_BYTES = 512 * 1024
"""A map larger than this would leave the second-level cache before the pooling reads it."""


MOST_ROWS = 1024
"""Rows of a map that is made in bands: a program has rows of its own for every one or two."""


def find_bands(graph: Graph, nodes: Sequence[Node]) -> dict[int, Node]:
    """Poolings that take a large map which nobody else reads, by the id of the node that makes it."""
    found: dict[int, Node] = {}
    for i, pool in enumerate(nodes):
        if pool.op not in ("max_pool", "avg_pool"):
            continue
        at = next((j for j, node in enumerate(nodes) if pool.inputs[0] in node.outputs), None)
        if at is None or nodes[at].op not in TILED or id(nodes[at]) in found:
            continue
        if any(nodes[at] is other for other in found.values()):
            continue
        # The pooling moves up to its maker, so what else it reads must be there by then.
        later = {name for node in nodes[at:i] for name in node.outputs}
        if _worthwhile(graph, nodes, pool) and not later.intersection(pool.reads[1:]):
            found[id(nodes[at])] = pool
    return found


def _worthwhile(graph: Graph, nodes: Sequence[Node], pool: Node) -> bool:
    value = pool.inputs[0]
    alone = sum(value in node.reads for node in nodes) == 1 and value != graph.output
    height, width, channels = graph.values[value].shape
    large = height * width * pixel_bytes("float", channels) > BAND_BYTES
    if not alone or not large or height > MOST_ROWS or 2 * _ring_rows(pool) > height:
        return False
    # A window that lies outside altogether has no row to wait for.
    return all(_seen(pool, y, height) for y in range(pool.shape[0]))


def _ring_rows(pool: Node) -> int:
    """Rows that the pooling sees at once, in whole strides."""
    span = (pool.window.kernel[0] - 1) * pool.window.dilation[0] + 1
    stride = pool.window.stride[0]
    return -(-span // stride) * stride


def ring(value: Value, pool: Node) -> Place:
    """Memory for the rows of `value` that its pooling sees at once, with a border at the sides."""
    _, width, channels = value.shape
    _, left, _, right = pool.window.pads
    return Place(
        kind="float",
        shape=(_ring_rows(pool), width, channels),
        border=(0, left, 0, right),
        pixel=pixel_bytes("float", channels),
    )


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One step of the dance: rows to make, or one row to pool.

    Attributes:
        first: first row made, or the output row pooled.
        count: rows made; 0 for a row to pool.
        seen: rows of the map that the pooling reads, by their place in the window; empty for rows made.
    """

    first: int
    count: int = 0
    seen: tuple[tuple[int, int], ...] = ()


def _seen(pool: Node, y: int, height: int) -> tuple[tuple[int, int], ...]:
    """Rows of the window of output row `y`, and of the map, that lie inside the map."""
    window = pool.window
    top = y * window.stride[0] - window.pads[0]
    taps = [(k, top + k * window.dilation[0]) for k in range(window.kernel[0])]
    return tuple((k, row) for k, row in taps if 0 <= row < height)


def turns(pool: Node, height: int) -> Iterator[Turn]:
    """Rows of the map in the order in which they are made and pooled; no run of them wraps the ring."""
    rows = _ring_rows(pool)
    made = 0
    for y in range(pool.shape[0]):
        seen = _seen(pool, y, height)
        needed = seen[-1][1] + 1
        while made < needed:
            count = min(needed - made, rows - made % rows)
            yield Turn(first=made, count=count)
            made += count
        yield Turn(first=y, seen=seen)
    while made < height:
        count = min(height - made, rows - made % rows)
        yield Turn(first=made, count=count)
        made += count
