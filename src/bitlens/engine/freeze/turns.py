"""The thresholds of a packed graph held against the steps they stand for, without any image."""

from __future__ import annotations

import numpy as np

from bitlens.engine.freeze.flow import Array, Op
from bitlens.engine.freeze.lower import Lowered
from bitlens.engine.freeze.thresholds import evaluate, reachable_sums
from bitlens.errors import BitlensError


def check_turns(lowered: Lowered) -> None:
    """Check every threshold of the shipped graph on both sides of its turn and at both ends.

    Images only show that no sum they happened to make lies on the wrong side; here the number at the
    threshold and the one in front of it are made.

    Raises:
        BitlensError: a bit is not that of the steps, by its layer and channel.
    """
    graph = lowered.graph
    steps = {s.value: s for node in graph.nodes for s in node.steps if s.op == "sign"}
    for sign, chain in lowered.folded.items():
        if sign not in lowered.used:
            continue
        step = steps[lowered.names[sign]]
        assert step.a is not None
        at = graph.tensors[step.a]
        turned = np.zeros(at.shape, bool) if step.b is None else graph.tensors[step.b] != 0
        points = _points(sign.inputs[0], at)
        expected = evaluate(chain, points)
        wrong = (((points >= at) ^ turned) != (expected >= 0)) & ~np.isnan(expected)
        if wrong.any():
            channel = int(np.argwhere(wrong)[0, 1])
            raise BitlensError(
                f"pack: layer {sign.name!r}: the threshold {at[channel]:g} of channel {channel} is not where "
                "its sign turns; this is a bug of the engine, please report it"
            )


def _points(source: Op, at: Array) -> Array:
    """Numbers (4, c): the smallest, the last below `at`, the first from `at` on, the largest."""
    if source.kind == "binary_conv":
        sums = reachable_sums(source)
        first = np.searchsorted(sums, at)
        places = [np.zeros_like(first), first - 1, first, np.full_like(first, len(sums) - 1)]
        return sums[np.clip(np.stack(places), 0, len(sums) - 1)]
    largest = np.finfo(np.float32).max
    middle = np.clip(at, -largest, largest)
    with np.errstate(over="ignore"):
        below = np.maximum(np.nextafter(middle, np.float32(-np.inf)), -largest)
    ends = np.full_like(middle, largest)
    return np.stack([-ends, below, middle, ends])
