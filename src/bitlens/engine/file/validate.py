"""The rules of a packed graph, checked before anything is computed with it.

What `check` lets pass can be run: every name leads somewhere, every shape follows from the ones before,
every tensor has the type and shape its node needs, integer sums stay exact, and nothing is larger than the
limits below. It reads tensors and allocates next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.file.header import made_values
from bitlens.engine.file.limits import (
    NODE_LIMIT,
    SIDE_LIMIT,
    STEP_LIMIT,
    VALUE_LIMIT,
    WORK_LIMIT,
    is_number,
    is_whole,
)
from bitlens.engine.file.validate_nodes import check_node
from bitlens.engine.file.validate_tensors import TensorRules, named_tensors
from bitlens.engine.graph import TILED, Graph, Node, NodeOp, Step, StepOp, Value
from bitlens.engine.heads import heads_of

_STEP_FIELDS: dict[str, tuple[str, ...]] = {
    "multiply": ("a",),
    "add": ("a",),
    "multiply_add": ("a", "b"),
    "add_value": ("value",),
    "multiply_value": ("value",),
    "prelu": ("a",),
    "clamp": ("low", "high"),
    "store": ("value",),
    "sign": ("value", "a", "b"),
    "quantize": ("value", "scale", "zero"),
}


def check(graph: Graph) -> None:
    """Check that a graph keeps to all that `graph.py` says.

    Raises:
        BitsFileError: the first break of a rule, with the node and field.
    """
    taken = _input(graph)
    if not 0 < len(graph.nodes) <= NODE_LIMIT:
        raise BitsFileError(f"a graph has 1 to {NODE_LIMIT} nodes, this one {len(graph.nodes)}")
    values, work, rules = {taken.name: taken}, 0, TensorRules(graph.tensors)
    for index, node in enumerate(graph.nodes):
        try:
            work += _node(node, values, rules)
            for value in made_values(node):
                _add(value, values, graph)
        except BitsFileError as error:
            raise BitsFileError(f"node {index} {shown(node.name)}, {error}") from None
        if work > WORK_LIMIT:
            raise BitsFileError(
                f"node {index} {shown(node.name)}: one image takes {work} operations so far; "
                f"at most {WORK_LIMIT} are allowed"
            )
    if odd := [name for name in graph.values if name not in values]:
        raise BitsFileError(f"value {shown(odd[0])} is made by no node")
    named = {name for node in graph.nodes for name in named_tensors(node)}
    if odd := [name for name in graph.tensors if name not in named]:
        raise BitsFileError(f"tensor {shown(odd[0])} is used by no node")
    _output(graph, values)


def _input(graph: Graph) -> Value:
    taken = graph.values.get(graph.input)
    if taken is None or taken.name != graph.input:
        raise BitsFileError(f"input: there is no value {shown(graph.input)}")
    if taken.kind not in ("u8", "float"):
        raise BitsFileError(f"input: {shown(taken.kind)} is neither u8 nor float")
    _shape(taken.shape, "input, shape")
    _normalisation(graph, taken.shape[2])
    return taken


def _normalisation(graph: Graph, channels: int) -> None:
    if (graph.mean is None) != (graph.std is None):
        raise BitsFileError("mean and std: one is given without the other")
    for name, numbers in (("mean", graph.mean), ("std", graph.std)):
        if numbers is None:
            continue
        if len(numbers) != channels or not all(is_number(n) for n in numbers):
            raise BitsFileError(
                f"{name}: {shown(numbers)} is not one finite number for each of {channels} channels"
            )
    if graph.std is not None and not all(n > 0 for n in graph.std):
        raise BitsFileError(f"std: {shown(graph.std)} is not positive")


def _shape(shape: Any, where: str) -> None:
    whole = isinstance(shape, tuple) and len(shape) == 3 and all(is_whole(n, 1) for n in shape)
    if not whole or max(shape[:2]) > SIDE_LIMIT or math.prod(shape) > VALUE_LIMIT:
        raise BitsFileError(
            f"{where}: {shown(shape)} is not height, width (to {SIDE_LIMIT}) and channels "
            f"of {VALUE_LIMIT} numbers at most"
        )


def _output(graph: Graph, values: dict[str, Value]) -> None:
    value = values.get(graph.output)
    if value is None or graph.output == graph.input or value.kind != "float":
        raise BitsFileError(f"output: {shown(graph.output)} is no float value that a node makes")
    if graph.output_rank not in (2, 4):
        raise BitsFileError(f"output rank: {shown(graph.output_rank)} is neither 2 nor 4")
    if graph.output_rank == 2 and value.shape[:2] != (1, 1):
        raise BitsFileError(f"output rank: 2 does not fit an answer of shape {value.shape}")
    heads = heads_of(graph)
    named = value.shape[2] if heads is None else heads.classes
    if graph.labels and len(graph.labels) != named:
        raise BitsFileError(f"labels: {len(graph.labels)} names for an answer of {named} channels")


def _add(value: Value, values: dict[str, Value], graph: Graph) -> None:
    if value.name in values:
        raise BitsFileError(f"output: value {shown(value.name)} is made twice")
    if graph.values.get(value.name) != value:
        raise BitsFileError(
            f"output: value {shown(value.name)} should be {value.kind} {value.shape} in `values`"
        )
    values[value.name] = value


def _node(node: Node, values: dict[str, Value], rules: TensorRules) -> int:
    """Check one node; returns its operations for one image."""
    if node.op not in get_args(NodeOp):
        raise BitsFileError(f"op: {shown(node.op)} is no operation of schema 1")
    for name in node.reads:
        if name not in values:
            raise BitsFileError(f"inputs: no value {shown(name)} is made before it")
    _shape(node.shape, "shape")
    work = check_node(node, [values[name] for name in node.inputs])
    if node.weights is not None:
        rules.weights(node, values[node.inputs[0]].shape[2])
    _steps(node, values, rules)
    return work + math.prod(node.shape) * (1 + len(node.steps))


def _steps(node: Node, values: dict[str, Value], rules: TensorRules) -> None:
    if node.op not in TILED:
        if node.steps:
            raise BitsFileError(f"steps: {node.op} has none")
        if node.output is None:
            raise BitsFileError("output: it makes no value")
        return
    if node.output is not None:
        raise BitsFileError(f"output: {node.op} writes by its steps alone")
    if not any(made_values(node)):
        raise BitsFileError("steps: none of them writes a value")
    if len(node.steps) > STEP_LIMIT:
        raise BitsFileError(f"steps: {len(node.steps)}; at most {STEP_LIMIT} are allowed")
    for index, step in enumerate(node.steps):
        try:
            _fields(step)
            _step(node, step, values, rules)
        except BitsFileError as error:
            raise BitsFileError(f"step {index} {shown(step.op)}, {error}") from None


def _fields(step: Step) -> None:
    if step.op not in get_args(StepOp):
        raise BitsFileError("op: it is no step of schema 1")
    for field, given in _given(step):
        takes = field in _STEP_FIELDS[step.op]
        if given and not takes:
            raise BitsFileError(f"{field}: it takes none")
        needed = field in ("a", "b", "value") and (step.op, field) != ("sign", "b")
        if takes and needed and not given:
            raise BitsFileError(f"{field}: it is missing")


def _step(node: Node, step: Step, values: dict[str, Value], rules: TensorRules) -> None:
    channels = node.shape[2]
    match step.op:
        case "add_value" | "multiply_value":
            _operand(values[str(step.value)], node)
        case "clamp":
            if not (_bound(step.low) and _bound(step.high) and step.low <= step.high):
                raise BitsFileError(f"low and high: {shown((step.low, step.high))} are no interval")
        case "quantize":
            if not (is_number(step.scale) and step.scale > 1e-37):
                raise BitsFileError(f"scale: {shown(step.scale)} is no positive number")
            if not is_whole(step.zero, 0, 255):
                raise BitsFileError(f"zero: {shown(step.zero)} is no byte")
        case "sign":
            rules.threshold(step.a, channels)
            if step.b is not None:
                rules.bits(step.b, channels)
        case _:
            for field, name in (("a", step.a), ("b", step.b)):
                if name is not None:
                    rules.constant(field, name, channels)


def _given(step: Step) -> Iterator[tuple[str, bool]]:
    fresh = Step(op=step.op)
    for field in ("a", "b", "value", "low", "high", "scale", "zero"):
        yield field, getattr(step, field) != getattr(fresh, field)


def _bound(value: object) -> bool:
    return is_number(value) or value in (math.inf, -math.inf)


def _operand(value: Value, node: Node) -> None:
    fits = value.shape in (node.shape, (1, 1, node.shape[2]))
    if value.kind != "float" or not fits:
        raise BitsFileError(
            f"value: {shown(value.name)} is {value.kind} {value.shape}; "
            f"it takes a float of {node.shape} or (1, 1, {node.shape[2]})"
        )
