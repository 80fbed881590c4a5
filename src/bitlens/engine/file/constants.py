"""How tensors of a graph lie in a file: each content once, and constants of one length in one stack.

A net has a handful of constants a layer, each with its name, shape and place; written one by one they cost
more header than content. So in a file the constants of a length are rows of one tensor, and the graph names
them `f32.512[7]`. Weights keep their own tensors.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.file.validate_tensors import named_tensors
from bitlens.engine.graph import Graph, Node

Tensors = dict[str, npt.NDArray[Any]]

_ROW = re.compile(r"(.+)\[(0|[1-9][0-9]{0,8})\]", re.DOTALL)


def share(graph: Graph) -> Graph:
    """The same graph with each content once, in order of use: equal tensors take the first one's name."""
    kept: dict[tuple[Any, ...], str] = {}
    name_of: dict[str, str] = {}
    for node in graph.nodes:
        for name in named_tensors(node):
            if name not in name_of:
                name_of[name] = kept.setdefault(_content(graph.tensors[name]), name)
    tensors = {name: graph.tensors[name] for name in kept.values()}
    return _renamed(replace(graph, tensors=tensors), name_of)


def _content(tensor: npt.NDArray[Any]) -> tuple[Any, ...]:
    return tensor.dtype.str, tensor.shape, hashlib.sha256(tensor.tobytes()).digest()


def stack(graph: Graph) -> tuple[Graph, Tensors]:
    """The graph as its file names things, and the tensors of the file.

    Args:
        graph: a graph from `share`.
    """
    stacks: dict[str, list[npt.NDArray[Any]]] = {}
    name_of, tensors = {}, {}
    for name, tensor in graph.tensors.items():
        if tensor.ndim == 1:
            place = f"{tensor.dtype.kind}{8 * tensor.itemsize}.{len(tensor)}"
            rows = stacks.setdefault(place, [])
            name_of[name] = f"{place}[{len(rows)}]"
            rows.append(tensor)
        else:
            name_of[name] = name
            tensors[name] = tensor
    if clash := set(stacks) & set(tensors):
        raise BitsFileError(f"tensor {shown(clash.pop())} has the name of a stack of constants")
    tensors |= {place: np.stack(rows) for place, rows in stacks.items()}
    return _renamed(graph, name_of), tensors


def unstack(nodes: Iterable[Node], stored: Mapping[str, npt.NDArray[Any]]) -> Tensors:
    """The tensors that nodes name, of those in a file; constants are rows of its two-dimensional tensors.

    Names that lead nowhere are left out, for `validate.check` to find.

    Raises:
        BitsFileError: a tensor or a row is in the file and no node names it.
    """
    found: Tensors = {}
    for node in nodes:
        for name in named_tensors(node):
            match = _ROW.fullmatch(name)
            if match and (rows := stored.get(match[1])) is not None and rows.ndim == 2:
                if int(match[2]) < len(rows):
                    found[name] = rows[int(match[2])]
            elif name in stored and stored[name].ndim != 2:
                found[name] = stored[name]
    used = Counter(_stored_name(name, stored) for name in found)
    for name, tensor in stored.items():
        if used[name] != (len(tensor) if tensor.ndim == 2 else 1):
            raise BitsFileError(f"tensor {shown(name)}, or a row of it, is used by no node")
    return found


def _stored_name(name: str, stored: Mapping[str, npt.NDArray[Any]]) -> str:
    match = _ROW.fullmatch(name)
    return match[1] if match and match[1] in stored and stored[match[1]].ndim == 2 else name


def _renamed(graph: Graph, name_of: Mapping[str, str]) -> Graph:
    def now(name: str | None) -> str | None:
        return None if name is None else name_of[name]

    nodes = tuple(
        replace(
            node,
            steps=tuple(replace(step, a=now(step.a), b=now(step.b)) for step in node.steps),
            weights=now(node.weights),
            scale=now(node.scale),
            zero=now(node.zero),
        )
        for node in graph.nodes
    )
    tensors = {name_of[name]: tensor for name, tensor in graph.tensors.items()}
    return replace(graph, nodes=nodes, tensors=tensors)
