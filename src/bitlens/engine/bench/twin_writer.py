"""The float twin as a list of operations, and the writer that makes it node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import Graph, Node, Step

INPUT, OUTPUT = "image", "answer"
"""Names of the twin's input, float32 (batch, c, h, w) normalised, and of its output."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of ONNX's operator set with one output; an absent optional input is ""."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Twin:
    """Operations in order, constants by name, and shapes of `INPUT` and `OUTPUT`."""

    operations: tuple[Operation, ...]
    constants: dict[str, npt.NDArray]
    input: tuple[int, ...]
    output: tuple[int, ...]


class Writer:
    """Writes nodes one by one; knows which ONNX tensor holds each of the graph's values."""

    def __init__(self, graph: Graph, batch: int) -> None:
        h, w, c = graph.values[graph.input].shape
        self.graph, self.batch = graph, batch
        self.operations: list[Operation] = []
        self.constants: dict[str, npt.NDArray] = {}
        self.held: dict[str, tuple[str, int]] = {graph.input: (INPUT, 4)}
        """Tensor that holds a value, and its rank; rank 2 only for values of shape (1, 1, c)."""
        self.bytes_per_unit: dict[str, npt.NDArray[np.float64]] = {}
        """Of a u8 value: byte - zero = real times this, per channel."""
        if graph.values[graph.input].kind == "u8":
            std = np.ones(c) if graph.std is None else np.array(graph.std, np.float64)
            self.bytes_per_unit[graph.input] = 255 * std if graph.std is not None else std
        self.input = (batch, c, h, w)

    def hold(self, node: Node, name: str, rank: int, steps: Sequence[Step]) -> None:
        """Write `steps` on the tensor `name` and remember the values that `node` makes."""
        for step in steps:
            name = self._step(node, step, name, rank)
        if node.output is not None:
            self.held[node.output] = (name, rank)

    def finish(self) -> Twin:
        """The twin."""
        h, w, c = self.graph.values[self.graph.output].shape
        rank = self.graph.output_rank
        self._write("Identity", [self.read(self.graph.output, rank)], OUTPUT, {})
        return Twin(
            operations=tuple(self.operations),
            constants=self.constants,
            input=self.input,
            output=(self.batch, c) if rank == 2 else (self.batch, c, h, w),
        )

    def emit(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Write one operation; the name of its output."""
        name = f"{op.lower()}_{len(self.operations)}"
        self._write(op, inputs, name, attributes)
        return name

    def _write(
        self, op: str, inputs: Sequence[str], output: str, attributes: dict[str, Any]
    ) -> None:
        made = Operation(op=op, inputs=tuple(inputs), output=output, attributes=attributes)
        self.operations.append(made)

    def constant(self, values: npt.NDArray | Sequence[int]) -> str:
        """Keep a constant, float64 as float32 and sequences of integers as int64; its name."""
        array = np.asarray(values, None if isinstance(values, np.ndarray) else np.int64)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array.copy()
        return name

    def read(self, value: str, rank: int) -> str:
        """The tensor of a value, reshaped if it is held in another rank."""
        name, held = self.held[value]
        if held == rank:
            return name
        c = self.graph.values[value].shape[2]
        shape = (self.batch, c) if rank == 2 else (self.batch, c, 1, 1)
        return self.emit("Reshape", [name, self.constant(shape)])

    def per_channel(self, tensor: str | None, rank: int) -> npt.NDArray[np.float64]:
        """A tensor (c,) of the graph, shaped to act on the channels of a tensor of `rank`."""
        assert tensor is not None
        found = self.graph.tensors[tensor].astype(np.float64)
        return found if rank == 2 else found[:, None, None]

    def _step(self, node: Node, step: Step, t: str, rank: int) -> str:
        if step.op in ("store", "sign", "quantize"):
            assert step.value is not None
            self.held[step.value] = (t, rank)
            if step.op == "quantize":
                self.bytes_per_unit[step.value] = np.full(node.shape[2], step.scale)
            return t
        if step.op in ("add_value", "multiply_value"):
            assert step.value is not None
            op = "Add" if step.op == "add_value" else "Mul"
            return self.emit(op, [t, self.read(step.value, rank)])
        if step.op == "clamp":
            if step.low == 0 and step.high == np.inf:
                return self.emit("Relu", [t])
            limits = [np.array(limit, np.float32) for limit in (step.low, step.high)]
            return self.emit("Clip", [t, *map(self.constant, limits)])
        a = self.per_channel(step.a, rank)
        if step.op == "prelu":
            return self.emit("PRelu", [t, self.constant(a)]) if a.any() else self.emit("Relu", [t])
        if step.op in ("multiply", "multiply_add"):
            t = self.emit("Mul", [t, self.constant(a)])
        if step.op == "multiply_add":
            a = self.per_channel(step.b, rank)
        return t if step.op == "multiply" else self.emit("Add", [t, self.constant(a)])
