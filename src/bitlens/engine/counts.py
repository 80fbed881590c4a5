"""What a packed net costs: multiply-accumulates by precision, other operations, and bytes of weights.

The literature of binary nets quotes OPs = FLOPs + BOPs / 64, where a BOP is a 1-bit and a FLOP a float
multiply-accumulate (Bi-Real Net, ReActNet). Where layers of w-bit weights and a-bit activations occur they
enter with sqrt(w a) / 64 (NAS-BNN), which is an eighth for int8. So here

    OPs = float MACs + int8 MACs / 8 + binary MACs / 64

A convolution counts every position of its window, padded ones too. Norms, activations, residual additions
and poolings are not part of OPs, by the same convention; they are counted as `other`.
"""

from __future__ import annotations

import builtins
from collections import Counter
from dataclasses import dataclass
from math import prod

from bitlens.engine.graph import Graph, Node

PRECISIONS = {
    "binary_conv": "binary",
    "int8_conv": "int8",
    "float_conv": "float",
    "sign_conv": "float",
}
"""In which arithmetic a convolution multiplies; one of 1-bit weights and float inputs adds floats."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Costs of one image, of a node or of a whole graph.

    Attributes:
        binary, int8, float: multiply-accumulates by arithmetic.
        other: one for each element and step (a fused multiply and add is one, a store none), for each
            position of a pooling, and for each element that another node makes by computing.
        weight_bytes: of packed weights by what they hold: "binary", "int8" or "float".
        constant_bytes: of scales, shifts, slopes and thresholds.
        value_bytes: of the values made, by kind: codes in words of 32 channels, floats, bytes.
    """

    binary: int = 0
    int8: int = 0
    float: int = 0
    other: int = 0
    weight_bytes: dict[str, int]
    constant_bytes: int = 0
    value_bytes: dict[str, int]

    @property
    def ops(self) -> builtins.float:
        """OPs = float + int8 / 8 + binary / 64."""
        return self.float + self.int8 / 8 + self.binary / 64

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all kinds."""
        return self.binary + self.int8 + self.float

    @property
    def bytes(self) -> int:
        """Bytes of weights and constants."""
        return sum(self.weight_bytes.values()) + self.constant_bytes


@dataclass(frozen=True, kw_only=True)
class NodeCost:
    """The cost of one node."""

    name: str
    op: str
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a graph costs, node by node and in total."""

    nodes: tuple[NodeCost, ...]
    total: Cost


def count(graph: Graph) -> Counts:
    """Count a graph that passes `validate.check`.

    A tensor that several nodes name counts in the first.
    """
    seen: set[str] = set()
    nodes = tuple(
        NodeCost(name=node.name, op=node.op, cost=_cost(graph, node, seen)) for node in graph.nodes
    )
    return Counts(nodes=nodes, total=_sum([node.cost for node in nodes]))


def _cost(graph: Graph, node: Node, seen: set[str]) -> Cost:
    macs, precision = _macs(graph, node), PRECISIONS.get(node.op)
    weights = {"sign_conv": "binary"}.get(node.op, precision)
    return Cost(
        binary=macs if precision == "binary" else 0,
        int8=macs if precision == "int8" else 0,
        float=macs if precision == "float" else 0,
        other=_other(node),
        weight_bytes={weights: _new_bytes(graph, seen, node.weights)} if weights else {},
        constant_bytes=_new_bytes(graph, seen, *_constants(node)),
        value_bytes=_value_bytes(graph, node),
    )


def _macs(graph: Graph, node: Node) -> int:
    if node.op not in PRECISIONS:
        return 0
    channels = graph.values[node.inputs[0]].shape[2] // node.groups
    return prod(node.window.kernel) * channels * prod(node.shape)


def _other(node: Node) -> int:
    steps = sum(step.op != "store" for step in node.steps)
    if node.op in ("max_pool", "avg_pool"):
        steps += prod(node.window.kernel)
    elif node.op in ("unary", "resize"):
        steps += 1
    return steps * prod(node.shape)


def _constants(node: Node) -> tuple[str | None, ...]:
    return node.scale, node.zero, *(name for step in node.steps for name in (step.a, step.b))


def _new_bytes(graph: Graph, seen: set[str], *names: str | None) -> int:
    total = 0
    for name in names:
        if name is not None and name not in seen:
            seen.add(name)
            total += graph.tensors[name].nbytes
    return total


def _value_bytes(graph: Graph, node: Node) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name in node.outputs:
        value = graph.values[name]
        h, w, c = value.shape
        found[value.kind] += h * w * {"codes": 4 * -(-c // 32), "float": 4 * c, "u8": c}[value.kind]
    return dict(found)


def _sum(costs: list[Cost]) -> Cost:
    weights: Counter[str] = Counter()
    values: Counter[str] = Counter()
    for cost in costs:
        weights.update(cost.weight_bytes)
        values.update(cost.value_bytes)
    return Cost(
        binary=sum(cost.binary for cost in costs),
        int8=sum(cost.int8 for cost in costs),
        float=sum(cost.float for cost in costs),
        other=sum(cost.other for cost in costs),
        weight_bytes=dict(weights),
        constant_bytes=sum(cost.constant_bytes for cost in costs),
        value_bytes=dict(values),
    )
