"""The float twin of a packed net as an ONNX file, for engines that read one. Needs the package onnx."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from bitlens.engine.bench.twin import float_twin
from bitlens.engine.bench.twin_writer import INPUT, OUTPUT
from bitlens.engine.graph import Graph
from bitlens.errors import BitlensError

OPSET = 20
"""ONNX operator set of the model."""


def to_onnx(graph: Graph, *, batch: int = 1) -> ModelProto:
    """The float twin of `graph`, see `twin.float_twin`.

    Args:
        graph: a packed net.
        batch: images the model takes at once, a fixed number.

    Returns:
        A checked model with input `image`, float32 (batch, c, h, w), and output `answer`.
    """
    twin = float_twin(graph, batch=batch)
    nodes = [
        helper.make_node(o.op, o.inputs, [o.output], name=o.output, **o.attributes)
        for o in twin.operations
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ((INPUT, twin.input), (OUTPUT, twin.output))
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in twin.constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "bitlens", ends[:1], ends[1:], initializer=constants),
        producer_name="bitlens",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    checker.check_model(model, full_check=True)
    return model


def save_onnx(graph: Graph, path: Path, *, batch: int = 1) -> None:
    """Write the float twin of `graph` to `path`.

    Raises:
        BitlensError: the file cannot be written.
    """
    try:
        path.write_bytes(to_onnx(graph, batch=batch).SerializeToString())
    except OSError as error:
        raise BitlensError(f"could not write {path}: {error.strerror}") from error
