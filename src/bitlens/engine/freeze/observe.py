"""What real convolutions read over the calibration images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, fx

from bitlens.engine.freeze.capture import BATCH, Captured
from bitlens.engine.freeze.flow import Array, Flow, Op, View, to_rows
from bitlens.engine.freeze.moments import Moments
from bitlens.errors import BitlensError

SAMPLES = 1 << 18
"""Numbers per tensor that a range is chosen from."""

Progress = Callable[[int, int], None]
"""Told what is done, and how much there is."""


class Seen(NamedTuple):
    """What real convolutions read over the calibration images.

    Attributes:
        samples: by value that is read, numbers from it.
        moments: by convolution, the second moments of its windows.
    """

    samples: dict[Op, list[Array]]
    moments: dict[Op, Moments]


def observe(
    flow: Flow,
    captured: Captured,
    convs: Sequence[Op],
    calibration: Iterable[Tensor],
    progress: Progress | None,
) -> Seen:
    """What the convolutions read over the calibration images, samples thinned where there are many."""
    shown = shown_by(flow, captured)
    sources = {conv.inputs[0]: shown[conv.inputs[0]] for conv in convs if conv.inputs[0] in shown}
    seen = Seen(
        samples={source: [] for source in sources},
        moments={conv: Moments(conv) for conv in convs if conv.inputs[0] in sources},
    )
    order = list(captured.module.graph.nodes)
    order = order[: max((order.index(node) for node in sources.values()), default=-1) + 1]
    pairs = list(pairs_of(calibration)) if sources else []
    for number, pair in enumerate(pairs, 1):
        values = run_nodes(captured, order, pair)
        rows = {
            source: to_rows(values[node], View(op=source, dims=flow.views[node].dims))
            for source, node in sources.items()
        }
        _check_finite(rows)
        for conv, moments in seen.moments.items():
            moments.add(rows[conv.inputs[0]])
        for source, real in rows.items():
            flat = real.reshape(-1)
            ends = np.asarray([flat.min(), flat.max()], np.float32)
            thinned = flat[:: max(1, flat.size * len(pairs) // SAMPLES)]
            seen.samples[source].append(np.concatenate([thinned, ends]))
        if progress is not None:
            progress(number * BATCH, len(pairs) * BATCH)
    return seen


def _check_finite(rows: Mapping[Op, Array]) -> None:
    for source, real in rows.items():
        if not np.isfinite(real).all():
            raise BitlensError(
                f"pack: {source.name or source.kind!r} makes numbers beyond float32 from the calibration "
                "images; scale them down in the net"
            )


def pairs_of(calibration: Iterable[Tensor]) -> Iterable[Tensor]:
    """All images two at a time; a last single one comes twice."""
    for batch in calibration:
        images = batch.detach().cpu().float().contiguous()
        for start in range(0, len(images), BATCH):
            pair = images[start : start + BATCH]
            yield pair if len(pair) == BATCH else pair.repeat(BATCH, 1, 1, 1)


@torch.no_grad()
def run_nodes(captured: Captured, order: Sequence[fx.Node], pair: Tensor) -> dict[fx.Node, Tensor]:
    """Values of the nodes of `order` for a pair of images."""
    interpreter = fx.Interpreter(captured.module)
    interpreter.env = dict(captured.constants)
    for node in order:
        if node.op == "placeholder":
            interpreter.env[node] = pair
        elif node not in interpreter.env and node.op == "call_function":
            interpreter.env[node] = interpreter.run_node(node)
    return interpreter.env


def shown_by(flow: Flow, captured: Captured) -> dict[Op, fx.Node]:
    """A captured node that has the value of an operation, for those that have one."""
    shown: dict[Op, fx.Node] = {}
    for node, view in flow.views.items():
        shown.setdefault(view.op, node)
    if captured.image in flow.substitutes:
        shown[flow.substitutes[captured.image].view.op] = captured.image
    return shown
