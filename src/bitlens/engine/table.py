"""The layer table of a packed net: what is 1-bit, what is not and why, and where the file's bytes go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from bitlens.engine.counts import Cost, count
from bitlens.engine.file.constants import share
from bitlens.engine.file.format import measure
from bitlens.engine.graph import BLOCK, Graph, Node
from bitlens.engine.signs import is_linear
from bitlens.engine.words import WORD

KERNELS = {
    "binary_conv": "xnor-popcount",
    "int8_conv": "int8 dot product",
    "float_conv": "float",
    "sign_conv": "float sums by signs",
}
"""How a layer's sums are computed."""

BITS = {"binary_conv": 1, "int8_conv": 8, "float_conv": 32, "sign_conv": 1}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer with weights.

    Attributes:
        name: module path.
        bits: of a weight.
        shape: of the weight as torch holds it.
        kernel: how its sums are computed.
        why: why it is not binary, or which method made it so.
        file_bytes: of its weights and constants in the file; shared ones count in the first layer.
        float_bytes: of its parameters in the trained net, as float32.
        hint: what the channel counts waste, or empty.
    """

    name: str
    bits: int
    shape: tuple[int, ...]
    kernel: str
    why: str
    file_bytes: int
    float_bytes: int
    hint: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """The layer table of a packed net; `print` it, or read `rows`.

    Attributes:
        rows: layers with weights, in the order of the net.
        constant_bytes: of constants of nodes without weights.
        header_bytes: of names, shapes and structure, filling included.
        float_bytes: of the trained net's parameters and norms, as float32; the sum of `rows` where the
            graph does not know.
        cost: multiply-accumulates and bytes of one image.
    """

    rows: tuple[Row, ...]
    constant_bytes: int
    header_bytes: int
    float_bytes: int
    cost: Cost

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return sum(row.file_bytes for row in self.rows) + self.constant_bytes + self.header_bytes

    @property
    def hints(self) -> tuple[str, ...]:
        """What could be narrower or smaller, one sentence a layer."""
        return tuple(f"{row.name}: {row.hint}" for row in self.rows if row.hint)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Rows as plain JSON-ready dictionaries."""
        return [asdict(row) | {"shape": list(row.shape)} for row in self.rows]

    def __str__(self) -> str:
        head = ("layer", "bits", "shape", "kernel", "why", "float32 B", "file B")
        lines = [head, *(_line(row) for row in self.rows)]
        lines.append(("(other constants)", "32", "", "", "", "", f"{self.constant_bytes:,}"))
        lines.append(("(header)", "", "", "", "names, shapes, steps", "", f"{self.header_bytes:,}"))
        ratio = f"{self.float_bytes / self.file_bytes:.1f}x smaller"
        lines.append(("total", "", "", "", ratio, f"{self.float_bytes:,}", f"{self.file_bytes:,}"))
        return "\n".join([*_aligned(lines, left=5), *_cost_lines(self.cost), *self._hint_lines()])

    def _hint_lines(self) -> Iterator[str]:
        if self.hints:
            yield ""
            yield from (f"hint: {hint}" for hint in self.hints)


def table(graph: Graph) -> Table:
    """The layer table of a graph. Its total is the size of the file that `format.write` makes.

    `graph.meta["layers"]` may list {"name", "bits", "op", "why", "float_bytes"} of the layers;
    `graph.meta["float_bytes"]` is the size of the whole trained net.

    Raises:
        BitsFileError: the graph breaks a rule.
    """
    size, saved = measure(graph)
    shared = share(graph)
    counts = count(shared)
    stored = counts.total.bytes - sum(saved.values())
    known = {str(layer["name"]): layer for layer in _layers(graph)}
    rows, constants = [], 0
    for index, (node, counted) in enumerate(zip(graph.nodes, counts.nodes, strict=True)):
        if node.op in KERNELS:
            own = counted.cost.bytes - saved.pop(str(shared.nodes[index].weights), 0)
            rows.append(_row(graph, node, own, known.get(node.name, {})))
        else:
            constants += counted.cost.bytes
    stated = graph.meta.get("float_bytes")
    return Table(
        rows=tuple(rows),
        constant_bytes=constants,
        header_bytes=size - stored,
        float_bytes=stated if isinstance(stated, int) else sum(row.float_bytes for row in rows),
        cost=counts.total,
    )


def _layers(graph: Graph) -> Iterator[Mapping[str, Any]]:
    layers: Any = graph.meta.get("layers")
    for layer in layers if isinstance(layers, list | tuple) else ():
        if isinstance(layer, Mapping) and "name" in layer:
            yield layer


def _row(graph: Graph, node: Node, file_bytes: int, known: Mapping[str, Any]) -> Row:
    channels = graph.values[node.inputs[0]].shape[2] // node.groups
    shape: tuple[int, ...] = (node.shape[2], channels, *node.window.kernel)
    if is_linear(graph, node):
        shape = shape[:2]
    stated = known.get("float_bytes")
    return Row(
        name=node.name,
        bits=BITS[node.op],
        shape=shape,
        kernel=KERNELS[node.op],
        why=str(known.get("why", "")),
        file_bytes=file_bytes,
        float_bytes=stated if isinstance(stated, int) else 4 * prod(shape),
        hint=_hint(node, channels),
    )


def _hint(node: Node, channels: int) -> str:
    """What a binary layer's words and blocks hold beyond its channels."""
    if node.op != "binary_conv":
        return ""
    out, told = node.shape[2] // node.groups, []
    if channels % WORD:
        words = -(-channels // WORD) * WORD
        told.append(f"{channels} input channels a group fill {channels / words:.0%} of their words")
    if out % BLOCK:
        blocks = -(-out // BLOCK) * BLOCK
        told.append(f"{out} output channels a group fill {out / blocks:.0%} of their blocks")
    if not told:
        return ""
    return f"{' and '.join(told)}; multiples of {WORD} in and {BLOCK} out waste nothing"


def _line(row: Row) -> tuple[str, ...]:
    shape = "x".join(map(str, row.shape))
    size = f"{row.file_bytes:,}"
    return row.name, str(row.bits), shape, row.kernel, row.why, f"{row.float_bytes:,}", size


def _aligned(lines: list[tuple[str, ...]], left: int) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _cost_lines(cost: Cost) -> Iterator[str]:
    yield ""
    yield (
        f"one image: {cost.binary:,} binary, {cost.int8:,} int8 and {cost.float:,} float "
        f"multiply-accumulates, {cost.other:,} other operations"
    )
    yield f"OPs = float + int8 / 8 + binary / 64 = {cost.ops:,.0f}"
