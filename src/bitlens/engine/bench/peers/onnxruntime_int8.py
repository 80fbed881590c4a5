"""ONNX Runtime on the float twin quantized to int8: bytes times int8 weights, one scale a filter.

Unsigned activations and signed weights are the fast path on x86: with both signed or both unsigned the
same net takes more than twice as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from bitlens.engine.bench.export_onnx import save_onnx
from bitlens.engine.bench.peers import Peer
from bitlens.engine.bench.peers.images import calibration_images, random_images
from bitlens.engine.bench.peers.onnxruntime_float import make_session
from bitlens.engine.bench.twin_writer import INPUT
from bitlens.engine.graph import Graph


class _Reader(CalibrationDataReader):
    def __init__(self, batches: list[npt.NDArray[np.float32]]) -> None:
        self._left: Iterator[npt.NDArray[np.float32]] = iter(batches)

    # Its stub leaves out the None that ends the reading.
    def get_next(  # pyrefly: ignore[bad-override]
        self,
    ) -> dict[str, npt.NDArray[np.float32]] | None:
        batch = next(self._left, None)
        return None if batch is None else {INPUT: batch}


def prepare(graph: Graph, threads: int) -> Peer:
    """The twin after static quantization with ranges from random images."""
    session = make_session(quantized(graph), threads)
    feed = {INPUT: random_images(graph)}
    return Peer(
        run=lambda: session.run(None, feed),
        description="ONNX Runtime, int8 (static QDQ, u8 x s8, per channel)",
        version=onnxruntime.__version__,
    )


def quantized(graph: Graph) -> bytes:
    """The twin as an int8 ONNX file."""
    with TemporaryDirectory() as folder:
        plain, prepared, done = (Path(folder) / name for name in ("float", "prepared", "int8"))
        save_onnx(graph, plain)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(done),
            _Reader(calibration_images(graph)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return done.read_bytes()
