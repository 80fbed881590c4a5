"""The order of operations, and which memory each reads and writes.

Between the nodes come copies that a kernel needs: an input with another border, signs regrouped, signs as
bytes. A convolution whose large output only a pooling reads becomes one operation with it, a band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bitlens.engine.graph import TILED, Graph, Node, Step
from bitlens.engine.run.accumulate import direct, whole_groups
from bitlens.engine.run.bands import find_bands, ring
from bitlens.engine.run.fuse import changes
from bitlens.engine.run.memory import Place, Sides, place
from bitlens.engine.words import words_for

WINDOWED = ("binary_conv", "int8_conv", "float_conv", "sign_conv", "max_pool", "avg_pool")
Kind = Literal["image", "tiled", "band", "move", "border", "expand", "regroup", "answer"]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing to do.

    Attributes:
        kind: which emitter makes its rows.
        node: the node, where it is one.
        pool: the pooling that takes the node's output in bands.
        source: the place that the window, or the copy, reads.
        target: the place that a copy writes.
        reads, writes: all places, for their lifetimes.
    """

    kind: Kind
    node: Node | None = None
    pool: Node | None = None
    source: str = ""
    target: str = ""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Order:
    """Operations and places.

    Attributes:
        operations: in order.
        places: by name, still without a start.
        fills: what the border of a place of floats holds.
        homes: value -> place, where a value was written over another.
        fixed: places that are zero from the start and not shared.
    """

    operations: list[Operation] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    fills: dict[str, float] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)

    def home(self, value: str) -> str:
        """Name of the place that holds a value."""
        return self.homes.get(value, value)


def order(graph: Graph, nodes: Sequence[Node], *, whole: bool) -> Order:
    """Lay out the operations of a net.

    Args:
        graph: the net.
        nodes: its nodes, fused or not.
        whole: keep every value in memory of its own, as the graph has it.
    """
    bands = {} if whole else find_bands(graph, nodes)
    pooled = {id(pool) for pool in bands.values()}
    nodes = [node for node in nodes if id(node) not in pooled]
    result = Order()
    _plan_places(graph, nodes, bands, result)
    if not whole:
        _write_in_place(graph, nodes, bands, result)
    home = result.home
    result.operations.append(Operation(kind="image", writes=(home(graph.input),)))
    for node in nodes:
        if id(node) in bands:
            _add_band(graph, node, bands[id(node)], result)
        else:
            _add_node(graph, node, result)
    result.operations.append(
        Operation(kind="answer", source=home(graph.output), reads=(home(graph.output),))
    )
    return result


def padding(node: Node) -> float:
    """What a node expects around a float input."""
    return float("-inf") if node.op == "max_pool" else 0.0


def _plan_places(
    graph: Graph, nodes: Sequence[Node], bands: dict[int, Node], result: Order
) -> None:
    banded = {pool.inputs[0] for pool in bands.values()}
    for name, value in graph.values.items():
        if name in banded:
            continue
        readers = [n for n in nodes if n.op in WINDOWED and n.inputs[0] == name]
        readers = [n for n in readers if any(n.window.pads) and _reads_directly(graph, n)]
        fill = padding(readers[0]) if readers and value.kind == "float" else 0.0
        border = _widest([n for n in readers if value.kind != "float" or padding(n) == fill])
        result.places[name] = place(value, border)
        if value.kind == "float" and any(border):
            result.fills[name] = fill
        if value.kind == "codes" or (value.kind == "u8" and any(border)):
            result.fixed.add(name)


def _reads_directly(graph: Graph, node: Node) -> bool:
    return node.op != "binary_conv" or direct(node, graph.values[node.inputs[0]].shape[2])


def _widest(nodes: Sequence[Node]) -> Sides:
    top, left, bottom, right = (max((n.window.pads[i] for n in nodes), default=0) for i in range(4))
    return top, left, bottom, right


def _write_in_place(
    graph: Graph, nodes: Sequence[Node], bands: dict[int, Node], result: Order
) -> None:
    last: dict[str, int] = {}
    for i, node in enumerate(nodes):
        more = bands[id(node)].reads if id(node) in bands else ()
        last.update(dict.fromkeys((*node.reads, *more), i))
    for i, node in enumerate(nodes):
        if node.op not in TILED or id(node) in bands:
            continue
        taken: set[str] = set()
        for at, step in enumerate(node.steps):
            made = str(step.value)
            if step.op != "store" or made not in result.places:
                continue
            for value in _candidates(graph, node, at):
                home = result.home(value)
                free = last.get(value) == i and home not in taken
                if free and _alike(result, home, made):
                    _take_over(result, home, made)
                    taken.add(home)
                    break


def _candidates(graph: Graph, node: Node, at: int) -> list[str]:
    """Values that the store at step `at` may overwrite: read by this node's elements alone, before it."""
    kept = {graph.input, graph.output}
    read = {str(s.value) for s in node.steps[:at] if s.op in ("add_value", "multiply_value")}
    if node.op == "elementwise":
        read.add(node.inputs[0])
    elif node.inputs[0] in read:
        read.discard(node.inputs[0])
    again = {str(s.value) for s in node.steps[at:] if s.op in ("add_value", "multiply_value")}
    shape = node.shape
    return sorted(v for v in read - again - kept if graph.values[v].shape == shape)


def _alike(result: Order, home: str, made: str) -> bool:
    borders = [name for name in (home, made) if name in result.fills]
    return len({result.fills[name] for name in borders}) <= 1


def _take_over(result: Order, home: str, made: str) -> None:
    old, new = result.places[home], result.places.pop(made)
    top, left, bottom, right = (max(pair) for pair in zip(old.border, new.border, strict=True))
    result.places[home] = replace(old, border=(top, left, bottom, right))
    if made in result.fills:
        result.fills[home] = result.fills.pop(made)
    result.homes[made] = home


def _writes(node: Node, result: Order) -> tuple[str, ...]:
    return tuple(result.home(value) for value in node.outputs)


def _values(steps: Sequence[Step], result: Order) -> tuple[str, ...]:
    return tuple(result.home(s.value) for s in steps if changes(s) and s.value is not None)


def _add_node(graph: Graph, node: Node, result: Order) -> None:
    if node.op not in TILED:
        reads = tuple(result.home(value) for value in node.inputs)
        result.operations.append(
            Operation(kind="move", node=node, reads=reads, writes=_writes(node, result))
        )
        return
    source = _source(graph, node, result)
    reads = (source, *_values(node.steps, result))
    result.operations.append(
        Operation(kind="tiled", node=node, source=source, reads=reads, writes=_writes(node, result))
    )


def _source(graph: Graph, node: Node, result: Order) -> str:
    """The place that a tiled node's window reads; a copy is added where it needs one."""
    home = result.home(node.inputs[0])
    have = result.places[home]
    if node.op == "binary_conv" and not _reads_directly(graph, node):
        return _add_signs(node, home, have, result)
    pads = node.window.pads
    fits = have.kind != "float" or not any(pads) or result.fills.get(home) == padding(node)
    if fits:
        return home
    name = f"{home}|{node.name}|border"
    result.places[name] = replace(have, border=pads)
    result.fills[name] = padding(node)
    result.operations.append(
        Operation(kind="border", source=home, target=name, reads=(home,), writes=(name,))
    )
    return name


def _add_signs(node: Node, home: str, have: Place, result: Order) -> str:
    name = f"{home}|{node.name}|signs"
    pads = node.window.pads
    height, width, channels = have.shape
    if whole_groups(node):
        pixel = 4 * node.groups * words_for(channels // node.groups)
        made = Place(kind="codes", shape=have.shape, border=pads, pixel=pixel)
    else:
        made = Place(kind="u8", shape=(height, width, channels), border=pads, pixel=channels)
    result.places[name] = made
    result.fixed.add(name)
    result.operations.append(
        Operation(
            kind="regroup" if made.kind == "codes" else "expand",
            node=node,
            source=home,
            target=name,
            reads=(home,),
            writes=(name,),
        )
    )
    return name


def _add_band(graph: Graph, node: Node, pool: Node, result: Order) -> None:
    value = pool.inputs[0]
    name = f"{value}|ring"
    result.places[name] = ring(graph.values[value], pool)
    result.homes[value] = name
    result.fills[name] = padding(pool)
    source = _source(graph, node, result)
    reads = (source, *_values(node.steps, result), *_values(pool.steps, result))
    writes = (*_writes(node, result), *_writes(pool, result))
    result.operations.append(
        Operation(
            kind="band",
            node=node,
            pool=pool,
            source=source,
            target=name,
            reads=reads,
            writes=writes,
        )
    )
