"""The float twin of a packed net: what other inference engines are timed on.

The twin has the packed net's topology with ordinary arithmetic. A binary convolution becomes a float
one of the same geometry whose weights are the signs times their scale, with batch norm folded into
weights and bias as for any deployment; signs and the bytes between int8 layers disappear. So its
answers are not those of the packed net, and only its time means something: it is what the same layers
cost another engine. Operations are those of ONNX, which every peer reads or can be told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from bitlens.engine.bench.twin_writer import Twin, Writer
from bitlens.engine.graph import Graph, Node, Step, Window
from bitlens.engine.reference.operations import pool_counts
from bitlens.engine.words import unpack_blocks, unpack_rows


def float_twin(graph: Graph, *, batch: int = 1) -> Twin:
    """The float twin of `graph`.

    Args:
        graph: a packed net.
        batch: images the twin takes at once, a fixed number, as engines plan best for.

    Returns:
        Operations from the input `image`, float32 (batch, c, h, w), which is the normalised image where
        the graph knows mean and std, to the output `answer`.
    """
    writer = Writer(graph, batch)
    for node in graph.nodes:
        name, rank, steps = _WRITERS[node.op](writer, node)
        writer.hold(node, name, rank, steps)
    return writer.finish()


def real_weights(graph: Graph, node: Node) -> npt.NDArray[np.float64]:
    """Weights (o, cg, kh, kw) of a convolution as real numbers: signs as -1 and +1, int8 times scale."""
    assert node.weights is not None
    stored = graph.tensors[node.weights]
    channels = graph.values[node.inputs[0]].shape[2] // node.groups
    if node.op == "binary_conv":
        shape = (node.shape[2], channels, *node.window.kernel)
        return unpack_blocks(stored, shape, node.groups).astype(np.float64)
    if node.op == "sign_conv":
        return unpack_rows(stored, channels).astype(np.float64)
    weights = stored.astype(np.float64)
    if node.op == "int8_conv":
        assert node.scale is not None
        weights *= graph.tensors[node.scale].astype(np.float64)[:, None, None, None]
    return weights.transpose(0, 3, 1, 2)


Written = tuple[str, int, Sequence[Step]]
"""The tensor that holds t, its rank, and the steps still to be written."""


def _convolution(writer: Writer, node: Node) -> Written:
    weights = real_weights(writer.graph, node)
    units = writer.bytes_per_unit.get(node.inputs[0])
    if units is not None and node.op == "int8_conv":
        o, cg = weights.shape[:2]
        own = units.reshape(node.groups, cg).repeat(o // node.groups, axis=0)
        weights = weights * own[:, :, None, None]
    weights, bias, steps = _folded(writer.graph, node, weights)
    window = node.window
    flat = writer.graph.values[node.inputs[0]].shape[:2] == node.shape[:2] == (1, 1)
    if flat and window.kernel == (1, 1) and node.groups == 1:
        inputs = [writer.read(node.inputs[0], 2), writer.constant(weights[:, :, 0, 0])]
        return writer.emit("Gemm", [*inputs, writer.constant(bias)], transB=1), 2, steps
    t = writer.emit(
        "Conv",
        [writer.read(node.inputs[0], 4), writer.constant(weights), writer.constant(bias)],
        **_geometry(window),
        group=node.groups,
    )
    return t, 4, steps


def _folded(
    graph: Graph, node: Node, weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Sequence[Step]]:
    """Weights and bias after the affine steps that directly follow, and the steps behind those."""
    bias = np.zeros(len(weights))
    count = 0
    for step in node.steps:
        if step.op not in ("multiply", "add", "multiply_add"):
            break
        assert step.a is not None
        a = graph.tensors[step.a].astype(np.float64)
        if step.op == "add":
            bias = bias + a
        else:
            weights, bias = weights * a[:, None, None, None], bias * a
        if step.op == "multiply_add":
            assert step.b is not None
            bias = bias + graph.tensors[step.b].astype(np.float64)
        count += 1
    steps = node.steps[count:]
    if node.op == "binary_conv" and count == 0 and [s.op for s in steps] == ["sign"]:
        # Batch norm went into the threshold; undone, so that the twin's values keep a size.
        terms = weights[0].size
        assert steps[0].a is not None
        threshold = graph.tensors[steps[0].a].astype(np.float64).clip(-terms, terms)
        turned = np.ones(len(weights))
        if steps[0].b is not None:
            turned -= 2 * graph.tensors[steps[0].b].astype(np.float64)
        gain = turned / np.sqrt(terms)
        weights, bias = weights * gain[:, None, None, None], -threshold * gain
    return weights, bias, steps


def _max_pool(writer: Writer, node: Node) -> Written:
    return _pool(writer, node, "MaxPool"), 4, node.steps


def _avg_pool(writer: Writer, node: Node) -> Written:
    window, size = node.window, writer.graph.values[node.inputs[0]].shape[:2]
    counts, area = pool_counts(size, node), window.kernel[0] * window.kernel[1]
    if window.kernel == size and not any(window.pads) and counts.item() == area:
        pooled = writer.emit("GlobalAveragePool", [writer.read(node.inputs[0], 4)])
        return pooled, 4, node.steps
    if node.attributes["count"] == "inside":
        return _pool(writer, node, "AveragePool"), 4, node.steps
    t = _pool(writer, node, "AveragePool", count_include_pad=1)
    if (counts != area).any():
        t = writer.emit("Mul", [t, writer.constant(area / counts)])
    return t, 4, node.steps


def _pool(writer: Writer, node: Node, op: str, **attributes: int) -> str:
    return writer.emit(op, [writer.read(node.inputs[0], 4)], **_geometry(node.window), **attributes)


def _geometry(window: Window) -> dict[str, tuple[int, ...]]:
    geometry: dict[str, tuple[int, ...]] = {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": window.pads,
    }
    # ONNX Runtime rejects its own int8 average pool when the attribute is there, even as ones.
    if window.dilation != (1, 1):
        geometry["dilations"] = window.dilation
    return geometry


def _elementwise(writer: Writer, node: Node) -> Written:
    name, rank = writer.held[node.inputs[0]]
    return name, rank, node.steps


def _concat(writer: Writer, node: Node) -> Written:
    rank = 2 if all(writer.held[value][1] == 2 for value in node.inputs) else 4
    return writer.emit("Concat", [writer.read(v, rank) for v in node.inputs], axis=1), rank, ()


_PAD_MODES = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def _pad(writer: Writer, node: Node) -> Written:
    given = node.attributes
    top, left, bottom, right = _integers(given.get("pads", (0, 0, 0, 0)))
    before, after = _integers(given.get("channels", (0, 0)))
    pads = writer.constant((0, before, top, left, 0, after, bottom, right))
    inputs = [writer.read(node.inputs[0], 4), pads]
    mode = str(given.get("mode") or "constant")
    if mode == "constant":
        fill = given.get("value") or 0.0
        assert isinstance(fill, (int, float))
        inputs.append(writer.constant(np.array(fill, np.float32)))
    return writer.emit("Pad", inputs, mode=_PAD_MODES[mode]), 4, ()


def _slice(writer: Writer, node: Node) -> Written:
    named = [node.attributes.get(axis) for axis in ("channels", "rows", "columns")]
    cuts = {axis: _integers(cut) for axis, cut in enumerate(named, start=1) if cut is not None}
    starts, stops, strides = (writer.constant([cut[i] for cut in cuts.values()]) for i in range(3))
    inputs = [writer.read(node.inputs[0], 4), starts, stops, writer.constant(list(cuts)), strides]
    return writer.emit("Slice", inputs), 4, ()


def _integers(values: object) -> tuple[int, ...]:
    assert isinstance(values, (list, tuple))
    return tuple(int(value) for value in values)


def _floats(values: object) -> tuple[float, ...]:
    assert isinstance(values, (list, tuple))
    return tuple(float(value) for value in values)


def _resize(writer: Writer, node: Node) -> Written:
    given = node.attributes
    if given["mode"] == "nearest":
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        corners = "align_corners" if given.get("align_corners") else "pytorch_half_pixel"
        how = {"coordinate_transformation_mode": corners}
    size = ["", writer.constant((writer.batch, node.shape[2], *node.shape[:2]))]
    if given.get("scale"):
        factors = np.array([1, 1, *_floats(given["scale"])], np.float32)
        size = [writer.constant(factors)]
    mode = "nearest" if given["mode"] == "nearest" else "linear"
    inputs = [writer.read(node.inputs[0], 4), "", *size]
    return writer.emit("Resize", inputs, mode=mode, **how), 4, ()


def _flatten(writer: Writer, node: Node) -> Written:
    return writer.emit("Flatten", [writer.read(node.inputs[0], 4)], axis=1), 2, ()


_FUNCTIONS = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "gelu": "Gelu",
    "hardswish": "HardSwish",
    "hardsigmoid": "HardSigmoid",
    "elu": "Elu",
    "exp": "Exp",
    "abs": "Abs",
    "sqrt": "Sqrt",
}


def _unary(writer: Writer, node: Node) -> Written:
    name, rank = writer.held[node.inputs[0]]
    function = str(node.attributes["function"])
    if function == "silu":
        return writer.emit("Mul", [name, writer.emit("Sigmoid", [name])]), rank, ()
    how: dict[str, object] = {k: v for k, v in node.attributes.items() if k != "function"}
    if function == "hardsigmoid":
        how = {"alpha": 1 / 6}
    return writer.emit(_FUNCTIONS[function], [name], **how), rank, ()


_WRITERS: dict[str, Callable[[Writer, Node], Written]] = {
    "binary_conv": _convolution,
    "int8_conv": _convolution,
    "float_conv": _convolution,
    "sign_conv": _convolution,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "elementwise": _elementwise,
    "concat": _concat,
    "pad": _pad,
    "slice": _slice,
    "resize": _resize,
    "flatten": _flatten,
    "unary": _unary,
}
