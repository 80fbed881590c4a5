"""OpenVINO on the float twin, float32."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
import openvino

from bitlens.engine.bench.export_onnx import to_onnx
from bitlens.engine.bench.peers import Peer
from bitlens.engine.bench.peers.images import random_images
from bitlens.engine.graph import Graph


def prepare(graph: Graph, threads: int) -> Peer:
    """The float twin in OpenVINO; on the CPU it would take bfloat16 by itself where there is some."""
    run = make_run(read_twin(graph), threads, random_images(graph))
    return Peer(run=run, description="OpenVINO, float32 (latency, one stream)", version=release())


def read_twin(graph: Graph) -> openvino.Model:
    """The float twin as an OpenVINO model."""
    return openvino.Core().read_model(BytesIO(to_onnx(graph).SerializeToString()))


def make_run(
    model: openvino.Model, threads: int, image: npt.NDArray[np.float32]
) -> Callable[[], object]:
    """A closure that answers `image` with the model compiled for latency in float32 or int8."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(image))
    return request.infer


def release() -> str:
    """Version of the package without its build number."""
    return openvino.__version__.partition("-")[0]
