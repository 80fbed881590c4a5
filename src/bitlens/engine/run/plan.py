"""From a packed graph to a program: order, memory, and one or more rows of the table for each node."""

from __future__ import annotations

from dataclasses import replace

from bitlens.engine.graph import Graph
from bitlens.engine.kernels import rows as r
from bitlens.engine.run.budget import check_arena, check_tables
from bitlens.engine.run.fuse import fuse
from bitlens.engine.run.memory import Place, Span, arrange
from bitlens.engine.run.moves import Moves
from bitlens.engine.run.operations import Operation, Order, order
from bitlens.engine.run.program import Builder, Program
from bitlens.engine.run.tiles import Tiles
from bitlens.errors import BitlensError


def plan(graph: Graph, *, whole: bool = False) -> Program:
    """Plan a net.

    Args:
        graph: a packed graph.
        whole: keep every value of the graph in memory of its own, nothing fused, so that all of them can
            be read after a run.

    Returns:
        The program. Its first row is to be filled with the copy of the caller's image, its last row with
        where the answer goes.

    Raises:
        BitlensError: it would need more memory than a net of its size should, or than there is.
    """
    check_tables(graph)
    try:
        return _plan(graph, whole=whole)
    except MemoryError:
        raise BitlensError("no memory for the net's weights and tables; free some") from None


def _plan(graph: Graph, *, whole: bool) -> Program:
    nodes = graph.nodes if whole else fuse(graph)
    ordered = order(graph, nodes, whole=whole)
    places, arena = _place(ordered, whole=whole)
    written = {name for o in ordered.operations for name in o.writes}
    homes = {
        value: places[ordered.home(value)]
        for value in (*graph.values, *places)
        if ordered.home(value) in places
    }
    builder = Builder()
    emitter = _Emitter(graph, ordered, homes, builder)
    for operation in ordered.operations:
        emitter.add(operation)
    alive = {value: homes[value] for value in graph.values if ordered.home(value) in written}
    return builder.finish(alive, arena)


def _place(ordered: Order, *, whole: bool) -> tuple[dict[str, Place], int]:
    """Give every place that is used a start in the arena."""
    lives: dict[str, tuple[int, int]] = {}
    for i, operation in enumerate(ordered.operations):
        for name in (*operation.reads, *operation.writes, operation.target):
            if name:
                first, _ = lives.get(name, (i, i))
                lives[name] = (first, i)
    last = len(ordered.operations)
    names = list(lives)
    spans = []
    for name in names:
        fixed = whole or name in ordered.fixed
        first, final = (0, last) if fixed else lives[name]
        spans.append(Span(size=ordered.places[name].size, first=first, last=final))
    starts, arena = arrange(spans)
    check_arena(arena)
    placed = {
        name: replace(ordered.places[name], start=start)
        for name, start in zip(names, starts, strict=True)
    }
    return placed, arena


class _Emitter:
    """Makes the rows of operations, borders before the first that writes beside them."""

    def __init__(
        self, graph: Graph, ordered: Order, places: dict[str, Place], builder: Builder
    ) -> None:
        self._order = ordered
        self._places = places
        self._builder = builder
        self._tiles = Tiles(graph=graph, places=places, builder=builder)
        self._moves = Moves(graph=graph, places=places, builder=builder)
        self._begun: set[str] = set()

    def add(self, operation: Operation) -> None:
        """Append an operation's rows."""
        if operation.kind == "image":
            self._builder.row({})
        self._borders(operation)
        self._rows(operation)
        node = operation.node
        name = node.name if node is not None else operation.kind
        op = node.op if node is not None and operation.kind in ("tiled", "move") else operation.kind
        self._builder.end_part(name, op)

    def _borders(self, operation: Operation) -> None:
        for name in (*operation.writes, operation.target):
            if name and name not in self._begun:
                self._begun.add(name)
                if name in self._order.fills:
                    self._moves.border(self._places[name], self._order.fills[name])

    def _rows(self, operation: Operation) -> None:
        places, node = self._places, operation.node
        match operation.kind:
            case "image":
                pass
            case "tiled":
                assert node is not None
                self._tiles.add(node, places[operation.source])
            case "band":
                self._tiles.add_band(operation, places[operation.source], places[operation.target])
            case "move":
                assert node is not None
                self._moves.add(node)
            case "border":
                self._moves.copy(places[operation.source], places[operation.target])
            case "expand" | "regroup":
                assert node is not None
                self._moves.signs(node, places[operation.source], places[operation.target])
            case "answer":
                self._moves.flatten(places[operation.source], {r.TARGET: 0})
