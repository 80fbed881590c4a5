"""Rows of a program that run tiles: a node's accumulator, its steps, and where they read and write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import LANES, Graph, Node, Step
from bitlens.engine.kernels import rows as r
from bitlens.engine.run.accumulate import Accumulator, accumulator, whole_channels
from bitlens.engine.run.bands import turns
from bitlens.engine.run.memory import InArena, Place
from bitlens.engine.run.operations import Operation
from bitlens.engine.run.program import Builder, InSteps

Array = npt.NDArray[Any]

_CONSTANTS = {"multiply": r.STEP_MULTIPLY, "add": r.STEP_ADD, "prelu": r.STEP_PRELU}
_READS = {"add_value": r.STEP_ADD_VALUE, "multiply_value": r.STEP_MULTIPLY_VALUE}
_BYTES = {"float": 4, "u8": 1}
_SINKS = {"store": r.STEP_STORE, "sign": r.STEP_SIGN, "quantize": r.STEP_QUANTIZE}


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Makes tiled rows.

    Attributes:
        graph: the net.
        places: value -> where it lies.
        builder: collects what is made.
    """

    graph: Graph
    places: Mapping[str, Place]
    builder: Builder

    def add(self, node: Node, source: Place) -> None:
        """A whole node in one row, or two where groups were over."""
        window = node.window.pads
        start = source.at(-window[0], -window[1])
        node, sums = _scaled(self.graph, node, accumulator(self.graph, node, source))
        for part in _parts(sums):
            fields = self._fields(node, source, part)
            fields |= self._band(part, start, 0, node.shape[0])
            self.builder.row(fields | self._steps(node, part, 0, {}))

    def add_band(self, operation: Operation, source: Place, ring: Place) -> None:
        """A node and its pooling, in turns, over a ring of rows."""
        node, pool = operation.node, operation.pool
        assert node is not None and pool is not None
        pools = accumulator(self.graph, pool, ring)
        node, sums = _scaled(self.graph, node, accumulator(self.graph, node, source))
        made = [(part, self._fields(node, source, part)) for part in _parts(sums)]
        pooled = self._fields(pool, ring, pools)
        taps = pools.offsets.reshape(pool.window.kernel[0], -1)[0]
        pads = node.window.pads
        rows = ring.shape[0]
        for turn in turns(pool, node.shape[0]):
            if turn.count:
                top = turn.first * node.window.stride[0] - pads[0]
                start = source.at(top, -pads[1])
                held = {pool.inputs[0]: ring.at(turn.first % rows - turn.first)}
                for part, fields in made:
                    band = self._band(part, start, turn.first, turn.count)
                    steps = self._steps(node, part, turn.first, held)
                    self.builder.row(fields | band | steps)
                continue
            slots = np.array([row % rows for _, row in turn.seen], np.int64) * ring.row
            offsets = (slots[:, None] + taps).reshape(-1)
            band = self._band(pools, ring.at(0, -pool.window.pads[1]), turn.first, 1)
            seen = {r.TERMS: offsets.size, r.OFFSETS: self.builder.constant(offsets)}
            self.builder.row(pooled | band | seen | self._steps(pool, pools, turn.first, {}))

    def _fields(self, node: Node, source: Place, sums: Accumulator) -> dict[int, int]:
        fields = {
            r.OPCODE: sums.opcode,
            r.INPUT_ROW: node.window.stride[0] * source.row,
            r.INPUT_PIXEL: node.window.stride[1] * source.pixel,
            r.OUT_WIDTH: node.shape[1],
            r.GROUPS: sums.groups,
            r.GROUP_CHANNELS: sums.channels // sums.groups,
            r.TERMS: sums.offsets.size - 4 * sums.loose,
            r.LOOSE: sums.loose,
            r.OFFSETS: self.builder.constant(sums.offsets),
            r.GROUP_STEP: sums.group_step,
        }
        if sums.weights is not None:
            fields[r.WEIGHTS] = self.builder.keep(sums.weights)
            fields[r.BLOCK_STEP] = sums.weights[0].nbytes
        if sums.gain is not None:
            fields[r.GAIN] = self.builder.constant(sums.gain)
        if sums.table is not None:
            fields[r.OFFSET] = self.builder.constant(sums.table)
        return fields

    def _band(self, sums: Accumulator, start: InArena, first: int, count: int) -> dict[int, int]:
        rows, columns = sums.steps
        return {
            r.INPUT: InArena(start + sums.start),
            r.HEIGHT: count,
            r.CLASS_ROW: self.builder.constant(rows) + 8 * first,
            r.CLASS_COLUMN: self.builder.constant(columns),
        }

    def _steps(
        self, node: Node, sums: Accumulator, first: int, held: Mapping[str, InArena]
    ) -> dict[int, int]:
        """Steps of the rows from `first` on; `held` gives values' row 0 where it is not at home."""
        begin = len(self.builder.steps)
        for step in node.steps:
            self.builder.steps.append(self._step(node, step, (first, sums.first), held))
        return {r.STEPS: InSteps(begin), r.STEP_COUNT: len(node.steps)}

    def _step(
        self, node: Node, step: Step, first: tuple[int, int], held: Mapping[str, InArena]
    ) -> dict[int, int]:
        """One step from a row and a channel on."""
        channel = first[1]
        match step.op:
            case "multiply" | "add" | "prelu":
                return {r.KIND: _CONSTANTS[step.op], r.A: self._channels(step.a, channel)}
            case "multiply_add":
                a, b = self._channels(step.a, channel), self._channels(step.b, channel)
                return {r.KIND: r.STEP_FMA, r.A: a, r.B: b}
            case "clamp":
                limits = np.array([step.low, step.high], np.float32)
                return {r.KIND: r.STEP_CLAMP, r.A: self.builder.constant(limits)}
            case "add_value" | "multiply_value":
                return {r.KIND: _READS[step.op]} | self._place(str(step.value), first, held)
            case _:
                return self._sink(node, step, first, held)

    def _sink(
        self, node: Node, step: Step, first: tuple[int, int], held: Mapping[str, InArena]
    ) -> dict[int, int]:
        channels, channel = node.shape[2], first[1]
        fields = {r.KIND: _SINKS[step.op]} | self._place(str(step.value), first, held)
        match step.op:
            case "store":
                fields[r.LIMIT] = LANES * -(-channels // LANES) - channel
            case "quantize":
                fields[r.LIMIT] = channels - channel
                parameters = np.array([step.scale, step.zero], np.float32)
                fields[r.A] = self.builder.constant(parameters)
            case _:
                # Nothing reaches the threshold of a lane beyond the channels: its bit stays zero.
                fields[r.A] = self._channels(step.a, channel, np.inf)
                fields[r.B] = self._turned(step.b, channels) + channel // 8
        return fields

    def _place(
        self, value: str, first: tuple[int, int], held: Mapping[str, InArena]
    ) -> dict[int, int]:
        place = self.places[value]
        row, channel = first
        # Groups are over after whole vectors of others, so that signs begin at a whole byte.
        within = channel // 8 if place.kind == "codes" else channel * _BYTES[place.kind]
        if place.shape[:2] == (1, 1):
            return {r.PLACE: place.at(offset=within)}
        start = place.at(row, offset=within)
        if value in held:
            start = InArena(held[value] + row * place.row + within)
        return {r.PLACE: start, r.PLACE_ROW: place.row, r.PLACE_PIXEL: place.pixel}

    def _channels(self, name: str | None, channel: int, fill: float = 0.0) -> int:
        numbers = self.graph.tensors[str(name)]
        return self.builder.constant(whole_channels(numbers, fill)) + 4 * channel

    def _turned(self, name: str | None, channels: int) -> int:
        """Bits to be xored onto the signs, 16 channels to an integer."""
        turned = np.zeros(whole_channels(np.zeros(channels)).size, np.uint8)
        if name is not None:
            turned[:channels] = self.graph.tensors[name] != 0
        return self.builder.constant(np.packbits(turned, bitorder="little").view("<u2"))


def _parts(sums: Accumulator) -> tuple[Accumulator, ...]:
    return (sums,) if sums.rest is None else (sums, sums.rest)


def _scaled(graph: Graph, node: Node, sums: Accumulator) -> tuple[Node, Accumulator]:
    """A multiplication right after the count of signs joins its gain, a power of two: exactly."""
    if sums.opcode != r.POPCOUNT or sums.gain is None or not node.steps:
        return node, sums
    first = node.steps[0]
    if first.op != "multiply":
        return node, sums
    scale = graph.tensors[str(first.a)].astype(np.float32)
    with np.errstate(over="ignore"):
        gain = scale * sums.gain[: scale.size]
    # The largest and the least numbers have no room for it.
    if not np.array_equal(gain / sums.gain[: scale.size], scale):
        return node, sums
    return replace(node, steps=node.steps[1:]), replace(sums, gain=whole_channels(gain))
