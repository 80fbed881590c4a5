"""`signs`: the 1-bit weights of a packed net as plain arrays."""

from __future__ import annotations

import os
from typing import Any

from bitlens.engine.file.format import read
from bitlens.engine.graph import Graph, Node
from bitlens.engine.words import Signs, unpack_blocks, unpack_rows


def signs(source: Graph | str | os.PathLike[str]) -> dict[str, Signs]:
    """The signs of every 1-bit layer.

    Args:
        source: a `.bits` file, or a graph.

    Returns:
        int8 arrays of -1 and +1 by layer name, shaped as torch holds the weight: (o, c / groups, kh, kw) of
        a convolution, (o, c) of a linear layer. A layer that the net calls again, `name#2`, is there once.

    Raises:
        BitsFileError: the file cannot be read.
    """
    graph = source if isinstance(source, Graph) else read(source)
    found: dict[str, Signs] = {}
    first: dict[str, str | None] = {}
    for node in graph.nodes:
        if node.op in ("binary_conv", "sign_conv"):
            layer = node.name.partition("#")[0]
            again = first.setdefault(layer, node.weights) == node.weights
            found[layer if again else node.name] = weight_signs(graph, node)
    return found


def weight_signs(graph: Graph, node: Node) -> Signs:
    """The signs of one binary or sign convolution of the graph, shaped as in `signs`."""
    words, channels = graph.tensors[str(node.weights)], graph.values[node.inputs[0]].shape[2]
    if node.op == "binary_conv":
        shape = (node.shape[2], channels // node.groups, *node.window.kernel)
        found = unpack_blocks(words, shape, node.groups)
    else:
        found = unpack_rows(words, channels // node.groups)
    return found.reshape(len(found), -1) if is_linear(graph, node) else found


def is_linear(graph: Graph, node: Node) -> bool:
    """Whether a convolution was a linear layer: `meta` says "linear" or "conv", else it sees one position."""
    layers: Any = graph.meta.get("layers")
    for layer in layers if isinstance(layers, list | tuple) else ():
        if isinstance(layer, dict) and layer.get("name") == node.name:
            if layer.get("op") in ("linear", "conv"):
                return layer["op"] == "linear"
    alone = graph.values[node.inputs[0]].shape[:2] == (1, 1)
    return alone and node.window.kernel == (1, 1) and node.groups == 1
