"""Gathered chains as the nodes, values and tensors of a packed graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from bitlens.engine.freeze.chains import Chain, Chains
from bitlens.engine.freeze.flow import Array, Flow, Op
from bitlens.engine.graph import Graph, Kind, Node, NodeOp, Step, StepOp, Value
from bitlens.engine.words import pack_blocks, pack_rows

NET = "(net)"
"""Name of a layer that is the whole net."""

_KINDS: dict[str, Kind] = {"sign": "codes", "quantize": "u8", "image": "u8"}


def emit(
    flow: Flow,
    chains: Chains,
    *,
    probe: frozenset[Op],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    labels: Sequence[str],
) -> tuple[Graph, dict[Op, str]]:
    """Write the graph down.

    Args:
        flow: the translated net.
        chains: its operations, gathered.
        probe: operations whose values are stored though nobody reads them.
        mean, std, labels: as in `graph.Graph`.

    Returns:
        The graph, and the name of each operation's value that it holds.
    """
    writer = _Writer(chains, probe)
    writer.name(flow.input)
    for unit in chains.units:
        writer.write(unit)
    values = {
        name: Value(name=name, kind=_KINDS.get(op.kind, "float"), shape=op.shape)
        for op, name in writer.names.items()
    }
    graph = Graph(
        nodes=tuple(writer.nodes),
        values=values,
        tensors=writer.tensors,
        input=writer.names[flow.input],
        output=writer.names[flow.answer.op],
        output_rank=2 if len(flow.answer.dims) == 2 else 4,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        labels=tuple(labels),
    )
    return graph, writer.names


class _Writer:
    def __init__(self, chains: Chains, probe: frozenset[Op]) -> None:
        self.chains, self.probe = chains, probe
        self.nodes: list[Node] = []
        self.names: dict[Op, str] = {}
        self.tensors: dict[str, Array] = {}
        self._taken: dict[str, set[str]] = {"value": set(), "node": set()}
        # Layers come first, so that each has its own module path for a name.
        self._layers: dict[Op, str] = {
            unit.head: self._free(unit.head.name or NET, "node")
            for unit in chains.units
            if isinstance(unit, Chain) and not unit.reads_head and unit.head.weights is not None
        }

    def _free(self, wanted: str, among: str) -> str:
        name, count = wanted, 1
        while name in self._taken[among]:
            count += 1
            name = f"{wanted}#{count}"
        self._taken[among].add(name)
        return name

    def name(self, op: Op) -> str:
        """The name of an operation's value."""
        if op not in self.names:
            self.names[op] = self._free(op.name or op.kind, "value")
        return self.names[op]

    def _tensor(self, name: str, values: Array) -> str:
        self.tensors[name] = np.ascontiguousarray(values)
        return name

    def write(self, unit: Chain | Op) -> None:
        """One node more."""
        if isinstance(unit, Op):
            self.nodes.append(
                Node(
                    name=self._free(unit.name or unit.kind, "node"),
                    op=cast(NodeOp, unit.kind),
                    inputs=tuple(self.names[op] for op in unit.inputs),
                    output=self.name(unit),
                    shape=unit.shape,
                    attributes=dict(unit.attributes),
                )
            )
            return
        head = unit.head
        origin = head if not unit.reads_head else (*unit.steps, *unit.sinks.get(head, []))[0]
        layer = None if unit.reads_head else self._layers.get(head)
        name = layer or self._free(origin.name or origin.kind, "node")
        reads = [head] if unit.reads_head else head.inputs
        fields = {} if unit.reads_head else self._fields(name, head)
        inputs = tuple(self.names[op] for op in reads)
        steps = self._steps(name, unit)
        op = cast(NodeOp, "elementwise" if unit.reads_head else head.kind)
        node = Node(name=name, op=op, inputs=inputs, steps=steps, shape=head.shape, **fields)
        self.nodes.append(node)

    def _fields(self, name: str, head: Op) -> dict[str, Any]:
        """What a node has besides its steps."""
        fields: dict[str, Any] = {"window": head.window, "groups": head.groups}
        fields["attributes"] = dict(head.attributes)
        if head.weights is None:
            return fields
        match head.kind:
            case "binary_conv":
                fields |= {"pad": head.pad, "unit": head.unit}
                packed = pack_blocks(head.weights, head.groups)
            case "sign_conv":
                packed = pack_rows(head.weights)
            case _:
                packed = head.weights.transpose(0, 2, 3, 1)
        fields["weights"] = self._tensor(f"{name}.weights", packed)
        if head.kind == "int8_conv":
            fields["scale"] = self._tensor(f"{name}.scale", head.scale)
            fields["zero"] = self._tensor(f"{name}.zero", head.zero)
        return fields

    def _steps(self, name: str, chain: Chain) -> tuple[Step, ...]:
        steps: list[Step] = []
        probes = 0  # stores that only a probed graph has leave the names of tensors as they are
        for op in chain.places:
            if op is not chain.head:
                steps.append(self._step(f"{name}.{len(steps) - probes}", op))
            own = op is not chain.head or not chain.reads_head
            if own and (op in self.chains.stored or op in self.probe):
                steps.append(Step(op="store", value=self.name(op)))
                probes += op not in self.chains.stored
            for sink in chain.sinks.get(op, []):
                steps.append(self._step(f"{name}.{len(steps) - probes}", sink))
        return tuple(steps)

    def _step(self, name: str, op: Op) -> Step:
        kind = cast(StepOp, op.kind)
        if kind == "quantize":
            scale = float(op.scale)
            return Step(op=kind, value=self.name(op), scale=scale, zero=int(op.zero))
        if kind in ("add_value", "multiply_value"):
            return Step(op=kind, value=self.names[op.inputs[1]])
        if kind == "clamp":
            return Step(op=kind, low=float(np.float32(op.low)), high=float(np.float32(op.high)))
        a = None if op.a is None else self._tensor(f"{name}.a", op.a)
        b = None if op.b is None else self._tensor(f"{name}.b", op.b)
        return Step(op=kind, a=a, b=b, value=self.name(op) if kind == "sign" else None)
