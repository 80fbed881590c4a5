"""The packed graph as JSON, and back: short, strict, and without anything that follows from the rest.

A field that has its default is left out. Values other than the input are not listed: a `store` makes a
float, a `sign` codes and a `quantize` bytes of the node's shape, and that is all there is to know.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.graph import Graph, Kind, Node, Step, Value, Window

MADE_BY: dict[str, Kind] = {"store": "float", "sign": "codes", "quantize": "u8"}
"""Kind of value that a step makes."""

UNSHOWN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, lone surrogates and breaks of lines."""

Parser = Callable[[Any, str], Any]


def made_values(node: Node) -> Iterator[Value]:
    """The values a node makes, in the order of `node.outputs`."""
    if node.output is not None:
        yield Value(name=node.output, kind="float", shape=node.shape)
    for step in node.steps:
        if step.op in MADE_BY and step.value is not None:
            yield Value(name=step.value, kind=MADE_BY[step.op], shape=node.shape)


def to_json(graph: Graph) -> dict[str, Any]:
    """The graph without its tensors, as plain JSON data."""
    taken = graph.values[graph.input]
    data = {
        "input": {"name": taken.name, "kind": taken.kind, "shape": _plain(taken.shape)},
        "output": graph.output,
        "rank": graph.output_rank,
        "mean": _plain(graph.mean),
        "std": _plain(graph.std),
        "labels": list(graph.labels),
        "meta": _plain(graph.meta),
        "nodes": [_sparse(node) for node in graph.nodes],
    }
    return {name: part for name, part in data.items() if part is not None and part not in ([], {})}


def _sparse(record: Node | Step | Window) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    return {
        field.name: _plain(getattr(record, field.name))
        for field in fields(record)
        if getattr(record, field.name) != _default(field)
    }


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _plain(value: Any) -> Any:
    """JSON data: tuples as lists, numpy numbers as Python's, an infinity as a word."""
    if isinstance(value, Step | Window):
        return _sparse(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value


def from_json(data: Mapping[str, Any], tensors: dict[str, npt.NDArray[Any]]) -> Graph:
    """The graph of `to_json`. Types of all fields are as declared; `validate.check` judges the rest.

    Raises:
        BitsFileError: a field that is unknown, missing or of the wrong type, or a value made twice.
    """
    _known(data, _GRAPH, ("input", "output", "rank", "nodes"), "the graph")
    parsed = {name: _GRAPH[name](part, name) for name, part in data.items()}
    nodes = parsed["nodes"]
    values: dict[str, Value] = {}
    for value in (parsed["input"], *(value for node in nodes for value in made_values(node))):
        if value.name in values:
            raise BitsFileError(f"value {shown(value.name)} is made twice")
        values[value.name] = value
    return Graph(
        nodes=nodes,
        values=values,
        tensors=tensors,
        input=parsed["input"].name,
        output=parsed["output"],
        output_rank=parsed["rank"],
        mean=parsed.get("mean"),
        std=parsed.get("std"),
        labels=parsed.get("labels", ()),
        meta=parsed.get("meta", {}),
    )


def _known(data: Any, parsers: Mapping[str, Parser], needed: Iterable[str], where: str) -> None:
    if not isinstance(data, dict):
        raise BitsFileError(f"{where}: {shown(data)} is not a JSON object")
    if odd := [name for name in data if name not in parsers]:
        raise BitsFileError(f"{where} has an unknown field {shown(odd[0])}")
    if missing := [name for name in needed if name not in data]:
        raise BitsFileError(f"{where} has no field {missing[0]!r}")


def _wrong(value: Any, where: str, expected: str) -> BitsFileError:
    return BitsFileError(f"{where}: {shown(value)} is not {expected}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(value, where, "a name")
    return value


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, where, "a string")
    return value


def is_line(text: str) -> bool:
    """Whether a terminal can show it in a line: no control character, no half of a surrogate pair."""
    return not any(unicodedata.category(letter) in UNSHOWN for letter in text)


def _line(value: Any, where: str) -> str:
    if not is_line(_string(value, where)):
        raise _wrong(value, where, "a line of text")
    return value


def _whole(value: Any, where: str) -> int:
    if type(value) is not int or abs(value) > 2**53:
        raise _wrong(value, where, "an integer")
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, where, "true or false")
    return value


def _number(value: Any, where: str) -> float:
    if value in ("inf", "-inf") or (type(value) in (int, float) and abs(value) < 1e300):
        return float(value)
    raise _wrong(value, where, "a number")


def _listed(part: Parser, count: int | None = None) -> Parser:
    def parse(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or count not in (None, len(value)):
            raise _wrong(value, where, f"a list of {count}" if count else "a list")
        return tuple(part(item, where) for item in value)

    return parse


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, where, "a JSON object")
    return value


def _attributes(value: Any, where: str) -> dict[str, Any]:
    """Lists become tuples; the `value` of a padding may be an infinity."""

    def fixed(part: Any) -> Any:
        return tuple(fixed(item) for item in part) if isinstance(part, list) else part

    found = {name: fixed(part) for name, part in _object(value, where).items()}
    if "value" in found:
        found["value"] = _number(found["value"], f"{where}.value")
    return found


def _kind(value: Any, where: str) -> Any:
    if value not in get_args(Kind):
        raise _wrong(value, where, f"one of {', '.join(get_args(Kind))}")
    return value


def _record(cls: type[Any], parsers: Mapping[str, Parser], needed: tuple[str, ...]) -> Parser:
    def parse(data: Any, where: str) -> Any:
        _known(data, parsers, needed, where)
        return cls(**{name: parsers[name](part, f"{where}, {name}") for name, part in data.items()})

    return parse


def _nodes(value: Any, where: str) -> tuple[Node, ...]:
    if not isinstance(value, list):
        raise _wrong(value, where, "a list")
    return tuple(_node(part, _label(i, part)) for i, part in enumerate(value))


def _label(index: int, data: Any) -> str:
    name = data.get("name") if isinstance(data, dict) else None
    return f"node {index}" if name is None else f"node {index} {shown(name)}"


_shape = _listed(_whole, 3)
_pair = _listed(_whole, 2)
_names = _listed(_text)
_numbers = _listed(_number)
_value = _record(Value, {"name": _text, "kind": _kind, "shape": _shape}, ("name", "kind", "shape"))
_window = _record(
    Window,
    {"kernel": _pair, "stride": _pair, "dilation": _pair, "pads": _listed(_whole, 4)},
    (),
)
_step = _record(
    Step,
    {
        "op": _text,
        "a": _text,
        "b": _text,
        "value": _text,
        "low": _number,
        "high": _number,
        "scale": _number,
        "zero": _whole,
    },
    ("op",),
)
_node = _record(
    Node,
    {
        "name": _text,
        "op": _text,
        "inputs": _names,
        "steps": _listed(_step),
        "output": _text,
        "shape": _shape,
        "window": _window,
        "groups": _whole,
        "pad": _whole,
        "unit": _flag,
        "weights": _text,
        "scale": _text,
        "zero": _text,
        "attributes": _attributes,
    },
    ("name", "op", "inputs", "shape"),
)
_GRAPH: dict[str, Parser] = {
    "input": _value,
    "output": _text,
    "rank": _whole,
    "mean": _numbers,
    "std": _numbers,
    "labels": _listed(_line),
    "meta": _object,
    "nodes": _nodes,
}
