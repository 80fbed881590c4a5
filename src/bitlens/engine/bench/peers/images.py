"""The images that peers are timed on and calibrated with: random, as the normalised input of a net."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitlens.engine.bench.peers import CALIBRATION_BATCHES
from bitlens.engine.graph import Graph


def random_images(graph: Graph, count: int = 1) -> npt.NDArray[np.float32]:
    """Normal numbers (count, c, h, w) for the input of `graph`, the same on every call."""
    h, w, c = graph.values[graph.input].shape
    draw = np.random.default_rng(0)
    return draw.standard_normal((count, c, h, w), dtype=np.float32)


def calibration_images(graph: Graph) -> list[npt.NDArray[np.float32]]:
    """Batches of one image for int8 calibration."""
    images = random_images(graph, CALIBRATION_BATCHES)
    return [images[i : i + 1] for i in range(len(images))]
