"""Rows of a program that move or reshape values: nodes without steps, copies, borders, image and answer."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import Graph, Node
from bitlens.engine.kernels import rows as r
from bitlens.engine.run.memory import Place
from bitlens.engine.run.program import Builder
from bitlens.engine.run.sources import between, nearest, padded, taken
from bitlens.errors import unknown

Array = npt.NDArray[Any]

FUNCTIONS = {
    "sigmoid": r.SIGMOID,
    "tanh": r.TANH,
    "silu": r.SILU,
    "gelu": r.GELU,
    "hardswish": r.HARDSWISH,
    "hardsigmoid": r.HARDSIGMOID,
    "elu": r.ELU,
    "exp": r.EXP,
    "abs": r.ABS,
    "sqrt": r.SQRT,
}


def float_bits(value: float) -> int:
    """The four bytes of a float32 as an integer."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def words(place: Place) -> int:
    """Four-byte elements of a pixel."""
    return place.pixel // 4


@dataclass(frozen=True, kw_only=True)
class Moves:
    """Makes rows without tiles.

    Attributes:
        graph: the net.
        places: value or copy -> where it lies.
        builder: collects what is made.
    """

    graph: Graph
    places: Mapping[str, Place]
    builder: Builder

    def add(self, node: Node) -> None:
        """A node without steps."""
        sources = [self.places[name] for name in node.inputs]
        target = self.places[str(node.output)]
        match node.op:
            case "concat":
                self._concat(sources, target)
            case "pad":
                self._pad(node, sources[0], target)
            case "slice":
                self._slice(node, sources[0], target)
            case "resize":
                self._resize(node, sources[0], target)
            case "flatten":
                self.flatten(sources[0], {r.TARGET: target.at()}, _tail(target))
            case "unary":
                self._unary(node, sources[0], target)
            case _:
                raise unknown("operation", node.op, FUNCTIONS)

    def flatten(self, source: Place, target: dict[int, int], tail: int = 0) -> None:
        """A value in torch's order, then zeros."""
        height, width, channels = source.shape
        fields = self._from(source) | target
        fields |= {r.OPCODE: r.FLATTEN, r.HEIGHT: height, r.OUT_WIDTH: width}
        self.builder.row(fields | {r.CHANNELS: channels, r.TAIL: tail})

    def border(self, place: Place, value: float) -> None:
        """Fill the border of a place of floats."""
        top, left, bottom, right = place.border
        height, width, _ = place.shape
        whole = place.row // 4
        for y, x, count, elements in (
            (-top, -left, top, whole),
            (height, -left, bottom, whole),
            (0, -left, height, left * words(place)),
            (0, width, height, right * words(place)),
        ):
            if count and elements:
                fields = {r.OPCODE: r.FILL, r.TARGET: place.at(y, x), r.TARGET_ROW: place.row}
                fields |= {r.HEIGHT: count, r.CHANNELS: elements, r.VALUE: float_bits(value)}
                self.builder.row(fields)

    def copy(self, source: Place, target: Place) -> None:
        """The same value at another place."""
        height, width, _ = source.shape
        self._gather(source, target, range(height), range(width), words(source))

    def signs(self, node: Node, source: Place, target: Place) -> None:
        """Signs as bytes, or with every group at a word of its own."""
        height, width, channels = source.shape
        fields = self._from(source) | self._to(target)
        fields |= {r.HEIGHT: height, r.OUT_WIDTH: width, r.CHANNELS: channels}
        if target.kind == "u8":
            self.builder.row(fields | {r.OPCODE: r.EXPAND})
            return
        fields |= {r.CHANNELS: channels // node.groups, r.PARTS: node.groups}
        self.builder.row(fields | {r.OPCODE: r.REGROUP})

    def _from(self, place: Place) -> dict[int, int]:
        return {
            r.SOURCE: place.at(),
            r.SOURCE_ROW: place.row,
            r.SOURCE_PIXEL: place.pixel,
        }

    def _to(self, place: Place) -> dict[int, int]:
        return {
            r.TARGET: place.at(),
            r.TARGET_ROW: place.row,
            r.TARGET_PIXEL: place.pixel,
        }

    def _gather(
        self,
        source: Place,
        target: Place,
        rows: Sequence[int],
        columns: Sequence[int],
        elements: int,
        **more: Any,
    ) -> None:
        """Rows and columns of the source, -1 for `value`.

        `skip` and `step` select channels of the source, `offset` is the first channel written, `tail` the
        zeros behind the last.
        """
        fields = self._from(source) | self._to(target)
        fields[r.SOURCE] = source.at(offset=4 * more.get("skip", 0))
        fields[r.TARGET] = target.at(offset=4 * more.get("offset", 0))
        fields |= {
            r.OPCODE: r.GATHER,
            r.HEIGHT: len(rows),
            r.OUT_WIDTH: len(columns),
            r.ROWS: self.builder.constant(np.array(rows, np.int64)),
            r.COLUMNS: self.builder.constant(np.array(columns, np.int64)),
            r.CHANNELS: elements,
            r.CHANNEL_STEP: 4 * more.get("step", 1),
            r.VALUE: float_bits(more.get("value", 0.0)),
            r.TAIL: more.get("tail", 0),
        }
        self.builder.row(fields)

    def _concat(self, sources: Sequence[Place], target: Place) -> None:
        height, width, _ = target.shape
        offset = 0
        for i, source in enumerate(sources):
            last = i == len(sources) - 1
            channels = source.shape[2]
            tail = _tail(target) if last else 0
            self._gather(
                source, target, range(height), range(width), channels, offset=offset, tail=tail
            )
            offset += channels

    def _pad(self, node: Node, source: Place, target: Place) -> None:
        mode = str(node.attributes.get("mode", "constant"))
        value: Any = node.attributes.get("value", 0.0)
        pads, channels = _numbers(node, "pads", 4), _numbers(node, "channels", 2)
        rows = padded(source.shape[0], pads[0], pads[2], mode)
        columns = padded(source.shape[1], pads[1], pads[3], mode)
        if any(channels):
            self._fill(target, value)
        self._gather(
            source,
            target,
            rows,
            columns,
            source.shape[2],
            value=value,
            offset=channels[0],
            tail=0 if channels[1] else _tail(target),
        )

    def _fill(self, target: Place, value: float) -> None:
        height, width, _ = target.shape
        fields = {r.OPCODE: r.FILL, r.TARGET: target.at(), r.TARGET_ROW: target.row}
        fields |= {r.HEIGHT: height, r.CHANNELS: width * words(target)}
        self.builder.row(fields | {r.VALUE: float_bits(value)})

    def _slice(self, node: Node, source: Place, target: Place) -> None:
        rows, columns, channels = (
            taken(node.attributes.get(name), size)
            for name, size in zip(("rows", "columns", "channels"), source.shape, strict=True)
        )
        self._gather(
            source,
            target,
            rows,
            columns,
            len(channels),
            skip=channels.start,
            step=channels.step,
            tail=_tail(target),
        )

    def _resize(self, node: Node, source: Place, target: Place) -> None:
        factors: Any = node.attributes.get("scale") or (None, None)
        sizes = list(zip(source.shape[:2], target.shape[:2], factors, strict=True))
        if node.attributes["mode"] == "nearest":
            rows, columns = (nearest(size, out, factor) for size, out, factor in sizes)
            self._gather(source, target, list(rows), list(columns), words(source))
            return
        corners = bool(node.attributes.get("align_corners"))
        (rows, down), (columns, right) = (
            between(size, out, factor, align_corners=corners) for size, out, factor in sizes
        )
        fields = self._from(source) | self._to(target)
        fields |= {
            r.OPCODE: r.BILINEAR,
            r.HEIGHT: target.shape[0],
            r.OUT_WIDTH: target.shape[1],
            r.CHANNELS: words(source),
            r.ROWS: self.builder.constant(rows),
            r.COLUMNS: self.builder.constant(columns),
            r.CONSTANTS: self.builder.constant(np.concatenate([down, right])),
        }
        self.builder.row(fields)

    def _unary(self, node: Node, source: Place, target: Place) -> None:
        name = str(node.attributes["function"])
        if name not in FUNCTIONS:
            raise unknown("function of a unary node", name, FUNCTIONS)
        function = FUNCTIONS[name]
        if name == "gelu" and node.attributes.get("approximate") == "tanh":
            function = r.GELU_TANH
        alpha: Any = node.attributes.get("alpha", 1.0)
        height, width, _ = source.shape
        fields = self._from(source) | self._to(target)
        fields |= {
            r.OPCODE: r.UNARY,
            r.HEIGHT: height,
            r.CHANNELS: width * words(source),
            r.FUNCTION: function,
            r.CONSTANTS: self.builder.constant(np.array([alpha], np.float32)),
        }
        self.builder.row(fields)


def _tail(place: Place) -> int:
    """Lanes behind a pixel's channels."""
    return words(place) - place.shape[2]


def _numbers(node: Node, name: str, count: int) -> tuple[int, ...]:
    numbers: Any = node.attributes.get(name) or (0,) * count
    return tuple(int(number) for number in numbers)
