"""Real convolutions in int8: weights per output channel, inputs as bytes of a calibrated range.

An image that was stored in bytes needs no calibration: x = (byte / 255 - mean) / std is taken apart into
the weights and the zero point, so nothing is lost on the input. Other inputs become bytes by
rint(x * scale) + zero, with a zero point at which real 0 is exact. Sums are exact integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, fx

from bitlens.engine.capture import BATCH, Captured
from bitlens.engine.flow import Array, Flow, Op, Substitute, ancestors_first, image_view, rewrite
from bitlens.engine.graph import Window
from bitlens.errors import BitlensError

LARGEST_SUM = 2**31 // (255 * 128)
"""Weights a filter may have so that a sum of bytes times weights fits 32 bits."""

SAMPLES = 1 << 18
"""Numbers per tensor that a range is chosen from."""

SHRINKS = np.linspace(1.0, 0.3, 36)
"""Parts of the full range that are tried."""


class Affine(NamedTuple):
    """byte = clip(rint(x * scale) + zero, 0, 255)."""

    scale: np.float32
    zero: int


def quantize_weights(filters: Array) -> tuple[Array, Array]:
    """Symmetric int8 per output channel: (q, s) with filters (o, cg, kh, kw) about q * s.

    s is max|w| / 127; a filter of zeros, or too small for float32, becomes zeros. Neighbouring pixels are
    nearly alike, so what rounding does to the sum of a window counts most: where the sum over a window is
    off by more than half a step, the weights that were closest to rounding the other way do so. On flat
    and natural images a stem with 3x3 windows then turns two to three times fewer signs.
    """
    flat = filters.reshape(*filters.shape[:2], -1).astype(np.float64)
    scale = (np.abs(flat).max(axis=(1, 2)) / 127).astype(np.float32)
    tiny = scale < np.finfo(np.float32).tiny
    scale = np.where(tiny, np.float32(1), scale)
    exact = np.where(tiny[:, None, None], 0, flat / scale.astype(np.float64)[:, None, None])
    q = np.clip(np.rint(exact), -127, 127)
    missing = np.rint((exact - q).sum(axis=2))
    way = np.sign(missing)[:, :, None]
    # Ascending: the weight that loses least by going one step further that way comes first.
    loss = np.where(np.abs(q + way) > 127, np.inf, way * (q - exact))
    place = loss.argsort(axis=2, kind="stable").argsort(axis=2)
    moved = (place < np.abs(missing)[:, :, None]) & np.isfinite(loss)
    return (q + way * moved).astype(np.int8).reshape(filters.shape), scale


def affine_of(low: float, high: float) -> Affine:
    """Bytes that cover [low, high] and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    width = high - low
    if width < 1e-30:
        return Affine(np.float32(1), 0)
    scale = np.float32(255 / width)
    return Affine(scale, int(np.clip(np.rint(-low * float(scale)), 0, 255)))


def to_bytes(x: Array, affine: Affine) -> Array:
    """The bytes of float32 numbers, each operation rounded to float32 as a `quantize` step does."""
    level = np.rint(x * affine.scale) + np.float32(affine.zero)
    return np.clip(level, 0, 255).astype(np.uint8)


def choose_range(samples: Array) -> Affine:
    """The bytes with the least squared error on `samples`: the full range, or one that cuts it off."""
    low, high = float(samples.min()), float(samples.max())
    best, least = affine_of(low, high), np.inf
    for shrink in SHRINKS:
        affine = affine_of(low * shrink, high * shrink)
        back = (to_bytes(samples, affine).astype(np.float32) - affine.zero) / affine.scale
        error = float(np.square(back - samples, dtype=np.float64).mean())
        if error < least:
            best, least = affine, error
    return best


def quantize(
    flow: Flow,
    captured: Captured,
    calibration: Iterable[Tensor],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> None:
    """Turn the real convolutions of `flow` into int8 ones, in place.

    Args:
        flow: the translated net.
        captured: what it was translated from; runs on the calibration images.
        calibration: float images as the net takes them.
        mean, std: normalisation of the images, or None where they are no bytes.
    """
    convs = [
        op
        for op in ancestors_first([flow.answer.op])
        if op.kind == "float_conv" and _terms(op) < LARGEST_SUM
    ]
    if mean is not None and std is not None:
        pixels = Op(kind="image", shape=flow.input.shape, name="image")
        for conv in convs:
            if conv.inputs == (flow.input,):
                _read_bytes(conv, pixels, np.asarray(mean), np.asarray(std))
        _replace_float_image(flow, captured, pixels, np.asarray(mean), np.asarray(std))
    rest = [conv for conv in convs if conv.kind == "float_conv"]
    affines = _affines(flow, captured, rest, calibration)
    made: dict[Op, Op] = {}
    for conv in rest:
        (source,) = conv.inputs
        if source not in affines:
            continue
        affine = affines[source]
        if source not in made:
            made[source] = Op(
                kind="quantize",
                inputs=(source,),
                shape=source.shape,
                name=f"{conv.name}.input",
                scale=affine.scale,
                zero=affine.zero,
            )
        _to_int8(conv, made[source], 1 / np.full(source.channels, affine.scale, np.float64))
        conv.zero = np.full(source.channels, affine.zero, np.float32)


def _terms(conv: Op) -> int:
    assert conv.weights is not None
    return int(np.prod(conv.weights.shape[1:]))


def _to_int8(conv: Op, source: Op, unit: Array) -> None:
    """Let `conv` read bytes whose steps are worth `unit` (c,)."""
    assert conv.weights is not None
    o, cg = conv.weights.shape[:2]
    per_group = unit.reshape(conv.groups, cg).repeat(o // conv.groups, axis=0)
    conv.kind, conv.inputs, conv.open = "int8_conv", (source,), False
    conv.weights, conv.scale = quantize_weights(
        conv.weights.astype(np.float64) * per_group[:, :, None, None]
    )


def _read_bytes(conv: Op, pixels: Op, mean: Array, std: Array) -> None:
    _to_int8(conv, pixels, 1 / (255 * std))
    conv.zero = (255 * mean).astype(np.float32)


def _replace_float_image(
    flow: Flow, captured: Captured, pixels: Op, mean: Array, std: Array
) -> None:
    """Make the float image from the bytes wherever it is still read, one weight of 1 a channel."""
    c = pixels.channels
    floats = Op(
        kind="int8_conv",
        inputs=(pixels,),
        shape=pixels.shape,
        name="image.float",
        open=True,
        window=Window(),
        groups=c,
        weights=np.ones((c, 1, 1, 1), np.int8),
        scale=(1 / (255 * std)).astype(np.float32),
        zero=(255 * mean).astype(np.float32),
    )
    old = flow.input
    became = rewrite([flow.answer.op], lambda op: floats if op is old else op)
    flow.input = pixels
    if old in became:
        flow.substitutes[captured.image] = Substitute(view=image_view(floats))
    if flow.answer.op is old:
        raise BitlensError("pack: the net returns its input; there is nothing to pack")


def shown_by(flow: Flow, captured: Captured) -> dict[Op, fx.Node]:
    """A captured node that has the value of an operation, for those that have one."""
    shown: dict[Op, fx.Node] = {}
    for node, view in flow.views.items():
        shown.setdefault(view.op, node)
    if captured.image in flow.substitutes:
        shown[flow.substitutes[captured.image].view.op] = captured.image
    return shown


def _affines(
    flow: Flow, captured: Captured, convs: list[Op], calibration: Iterable[Tensor]
) -> dict[Op, Affine]:
    shown = shown_by(flow, captured)
    sources = {conv.inputs[0] for conv in convs}
    found: dict[Op, Affine] = {
        # Signs as floats: -1 and +1 are the bytes 0 and 2, exactly.
        op: Affine(np.float32(1), 1)
        for op in sources
        if op.kind == "binary_conv" and op.inputs[0].kind == "sign" and op not in shown
    }
    watched = {shown[op]: op for op in sources if op in shown and op not in found}
    if watched:
        samples = _observe(captured, list(watched), calibration)
        found |= {op: choose_range(samples[node]) for node, op in watched.items()}
    return found


def _observe(
    captured: Captured, nodes: list[fx.Node], calibration: Iterable[Tensor]
) -> dict[fx.Node, Array]:
    """Values of some nodes over the calibration images, thinned evenly where there are too many."""
    parts: dict[fx.Node, list[Array]] = {node: [] for node in nodes}
    last = max(list(captured.module.graph.nodes).index(node) for node in nodes)
    order = list(captured.module.graph.nodes)[: last + 1]
    pairs = list(pairs_of(calibration))
    for pair in pairs:
        values = run_nodes(captured, order, pair)
        for node in nodes:
            flat = values[node].detach().reshape(-1).numpy()
            stride = max(1, flat.size * len(pairs) // SAMPLES)
            kept = flat[::stride]
            ends = np.asarray([flat.min(), flat.max()], np.float32)
            parts[node].append(np.concatenate([kept, ends]))
    return {node: np.concatenate(found) for node, found in parts.items()}


def pairs_of(calibration: Iterable[Tensor]) -> Iterable[Tensor]:
    """All images two at a time; a last single one comes twice."""
    for batch in calibration:
        images = batch.detach().cpu().float()
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
