"""OpenVINO on the float twin quantized to int8 by NNCF: the fastest int8 engine on x86 that we know."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stdout

import nncf

from bitlens.engine.bench.peers import Peer
from bitlens.engine.bench.peers.images import calibration_images, random_images
from bitlens.engine.bench.peers.openvino_float import make_run, read_twin, release
from bitlens.engine.graph import Graph


def prepare(graph: Graph, threads: int) -> Peer:
    """The twin after NNCF's post-training quantization with ranges from random images."""
    nncf.set_log_level(logging.ERROR)
    images = calibration_images(graph)
    with redirect_stdout(io.StringIO()):  # it draws progress bars that no log level turns off
        model = nncf.quantize(read_twin(graph), nncf.Dataset(images), subset_size=len(images))
    return Peer(
        run=make_run(model, threads, random_images(graph)),
        description="OpenVINO, int8 (NNCF, latency, one stream)",
        version=f"{release()}, nncf {nncf.__version__}",
    )
