"""ONNX Runtime on the float twin, float32."""

from __future__ import annotations

import onnxruntime

from bitlens.engine.bench.export_onnx import to_onnx
from bitlens.engine.bench.peers import Peer
from bitlens.engine.bench.peers.images import random_images
from bitlens.engine.bench.twin_writer import INPUT
from bitlens.engine.graph import Graph


def prepare(graph: Graph, threads: int) -> Peer:
    """The float twin in ONNX Runtime with all graph optimizations."""
    session = make_session(to_onnx(graph).SerializeToString(), threads)
    feed = {INPUT: random_images(graph)}
    return Peer(
        run=lambda: session.run(None, feed),
        description="ONNX Runtime, float32",
        version=onnxruntime.__version__,
    )


def make_session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU with `threads` threads inside an operation and one operation at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
