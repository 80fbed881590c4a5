"""Joins nodes: an elementwise node walks on where the node that made its input left off.

The number in the register is the number that was stored, so the arithmetic stays what it was, and a value
that nobody else reads is never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bitlens.engine.graph import TILED, Graph, Node, Step

SINKS = ("store", "sign", "quantize")


def fuse(graph: Graph) -> tuple[Node, ...]:
    """The graph's nodes with elementwise ones joined to the nodes before them where that is exact."""
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if node.op != "elementwise":
            continue
        before = _maker(nodes, node.inputs[0])
        if before is None or not _joins(nodes, before, node):
            continue
        nodes.remove(node)
        steps = nodes[before].steps
        if node.inputs[0] != graph.output and not _readers(nodes, node.inputs[0]):
            steps = tuple(s for s in steps if not (s.op == "store" and s.value == node.inputs[0]))
        nodes[before] = replace(nodes[before], steps=(*steps, *node.steps))
    return tuple(nodes)


def changes(step: Step) -> bool:
    """Whether a step gives t another value."""
    return step.op not in SINKS


def _maker(nodes: Sequence[Node], value: str) -> int | None:
    return next((i for i, node in enumerate(nodes) if value in node.outputs), None)


def _readers(nodes: Sequence[Node], value: str) -> int:
    return sum(value in node.reads for node in nodes)


def _joins(nodes: Sequence[Node], before: int, node: Node) -> bool:
    maker = nodes[before]
    if maker.op not in TILED or maker.shape != node.shape:
        return False
    at = next(i for i, s in enumerate(maker.steps) if s.op == "store" and s.value == node.inputs[0])
    if any(changes(step) for step in maker.steps[at:]):
        return False
    later = {value for other in nodes[before:] for value in other.outputs}
    return not later.intersection(node.reads[1:])
