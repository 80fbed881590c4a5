"""The packed graph run by slow and obvious numpy: the truth that the kernels are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import TILED, Graph, Node, Step
from bitlens.engine.reference import moves as moves
from bitlens.engine.reference import operations as ops
from bitlens.engine.words import unpack_blocks, unpack_rows
from bitlens.errors import BitlensError

Array = npt.NDArray[Any]
DTYPES = {"codes": np.int8, "float": np.float32, "u8": np.uint8}
"""What `run` answers for each kind of value."""


def run(graph: Graph, images: Array) -> dict[str, Array]:
    """Compute every value of the graph.

    Args:
        graph: a packed graph that passes `validate.check`.
        images: (n, h, w, c) of the input value: uint8 if it is `u8`, float32 if it is `float`.

    Returns:
        Each value by name, (n, h, w, c): codes as int8 -1 and +1, floats as float32, bytes as uint8. A
        byte quantized from NaN is 0, a sign of NaN is that of a number below the threshold.

    Raises:
        BitlensError: `images` has another shape or dtype than the input value.
    """
    taken = graph.values[graph.input]
    if images.ndim != 4 or images.shape[1:] != taken.shape or images.dtype != DTYPES[taken.kind]:
        raise BitlensError(
            f"reference: images are {images.dtype} {images.shape}, the graph takes "
            f"{np.dtype(DTYPES[taken.kind])} (n, {', '.join(map(str, taken.shape))})"
        )
    values: dict[str, Array] = {graph.input: images}
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for node in graph.nodes:
            made = _element(graph, node, values)
            if node.op in TILED:
                _walk(graph, node, made.astype(np.float32), values)
            else:
                values[str(node.output)] = np.ascontiguousarray(made)
    return values


def _element(graph: Graph, node: Node, values: dict[str, Array]) -> Array:
    """The number t of every output element of a tiled node, or the value of another."""
    x = values[node.inputs[0]]
    tensor = graph.tensors
    match node.op:
        case "binary_conv":
            shape = (node.shape[2], x.shape[3] // node.groups, *node.window.kernel)
            signs = unpack_blocks(tensor[str(node.weights)], shape, node.groups)
            return ops.binary_conv(x, signs, node)
        case "int8_conv":
            weights, scale, zero = (
                tensor[str(name)] for name in (node.weights, node.scale, node.zero)
            )
            return ops.int8_conv(x, weights, scale, zero, node)
        case "float_conv":
            return ops.convolve(x, tensor[str(node.weights)], node)
        case "sign_conv":
            signs = unpack_rows(tensor[str(node.weights)], x.shape[3] // node.groups)
            return ops.convolve(x, signs.transpose(0, 2, 3, 1), node)
        case "max_pool":
            return ops.max_pool(x, node)
        case "avg_pool":
            return ops.avg_pool(x, node)
        case "elementwise":
            return x
        case "concat":
            return np.concatenate([values[name] for name in node.inputs], axis=3)
        case "pad":
            return moves.pad(x, node)
        case "slice":
            return moves.take(x, node)
        case "resize":
            return moves.resize(x, node)
        case "flatten":
            return moves.flatten(x)
        case "unary":
            return moves.unary(x, node)


def _walk(graph: Graph, node: Node, t: Array, values: dict[str, Array]) -> None:
    for step in node.steps:
        match step.op:
            case "store":
                values[str(step.value)] = t.copy()
            case "sign":
                values[str(step.value)] = _sign(graph, step, t)
            case "quantize":
                values[str(step.value)] = _quantize(step, t)
            case _:
                t = _change(graph, step, t, values)


def _change(graph: Graph, step: Step, t: Array, values: dict[str, Array]) -> Array:
    match step.op:
        case "multiply":
            return t * graph.tensors[str(step.a)]
        case "add":
            return t + graph.tensors[str(step.a)]
        case "multiply_add":
            a, b = graph.tensors[str(step.a)], graph.tensors[str(step.b)]
            return ops.fused_multiply_add(t, a, b)
        case "add_value":
            return t + values[str(step.value)]
        case "multiply_value":
            return t * values[str(step.value)]
        case "prelu":
            return np.where(t > 0, t, t * graph.tensors[str(step.a)])
        case "clamp":
            low, high = np.float32(step.low), np.float32(step.high)
            return np.minimum(np.maximum(t, low), high)
        case _:
            raise ValueError(f"{step.op} writes t and does not change it")


def _sign(graph: Graph, step: Step, t: Array) -> Array:
    bits = t >= graph.tensors[str(step.a)]
    if step.b is not None:
        bits = bits ^ (graph.tensors[step.b] != 0)
    return np.where(bits, 1, -1).astype(np.int8)


def _quantize(step: Step, t: Array) -> Array:
    level = np.rint(t * np.float32(step.scale)) + np.float32(step.zero)
    return np.clip(np.nan_to_num(level, nan=0.0, posinf=255, neginf=0), 0, 255).astype(np.uint8)
