"""Real convolutions in int8: weights per output channel, inputs as bytes of a calibrated range.

An image that was stored in bytes needs no calibration: x = (byte / 255 - mean) / std is taken apart into
the weights and the zero point, so nothing is lost on the input. Other inputs become bytes by
rint(x * scale) + zero, with a zero point at which real 0 is exact. Sums are exact integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from bitlens.engine.freeze.capture import Captured
from bitlens.engine.freeze.flow import (
    Array,
    Flow,
    Op,
    Substitute,
    ancestors_first,
    image_view,
    rewrite,
)
from bitlens.engine.freeze.observe import Progress, Seen, observe
from bitlens.engine.freeze.rounding import quantize_weights
from bitlens.engine.graph import Window
from bitlens.errors import BitlensError

LARGEST_SUM = 2**31 // (255 * 128)
"""Weights a filter may have so that a sum of bytes times weights fits 32 bits."""

SHRINKS = np.linspace(1.0, 0.3, 36)
"""Parts of the full range that are tried."""


REFINED = 8_000_000
"""Multiplications an image up to which weights that meet bytes get a second int8 term.

What the first term loses turns some signs in ten thousand behind the stem (0.04 to 0.06 % on three
trained nets), and a net of signs makes more of each. The second leaves 1/254 of the loss. At this size
it costs as much again as the first, 16 microseconds at 500 multiplications a nanosecond.
"""

FINE = ".fine"
"""Behind a layer's name: the second term of its weights."""


class Affine(NamedTuple):
    """byte = clip(rint(x * scale) + zero, 0, 255)."""

    scale: np.float32
    zero: int


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
    progress: Progress | None = None,
) -> None:
    """Turn the real convolutions of `flow` into int8 ones, in place.

    Args:
        flow: the translated net.
        captured: what it was translated from; runs on the calibration images.
        calibration: float images as the net takes them.
        mean, std: normalisation of the images, or None where they are no bytes.
        progress: called with the calibration images done and their number.

    Raises:
        BitlensError: a convolution reads numbers that are not finite, or the net returns its input.
    """
    convs = [
        op
        for op in ancestors_first([flow.answer.op])
        if op.kind == "float_conv" and _terms(op) < LARGEST_SUM
    ]
    seen = observe(flow, captured, convs, calibration, progress)
    if mean is not None and std is not None:
        pixels = Op(kind="image", shape=flow.input.shape, name="image")
        for conv in convs:
            if conv.inputs == (flow.input,):
                exact = _to_int8(conv, pixels, 1 / (255 * np.asarray(std)), seen)
                conv.zero = (255 * np.asarray(mean)).astype(np.float32)
                if np.prod(conv.shape[:2]) * exact.size <= REFINED:
                    _refine(conv, exact)
        _replace_float_image(flow, captured, pixels, np.asarray(mean), np.asarray(std))
    rest = [conv for conv in convs if conv.kind == "float_conv"]
    affines = _affines(rest, seen)
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
        _to_int8(conv, made[source], 1 / np.full(source.channels, affine.scale, np.float64), seen)
        conv.zero = np.full(source.channels, affine.zero, np.float32)


def _terms(conv: Op) -> int:
    assert conv.weights is not None
    return int(np.prod(conv.weights.shape[1:]))


def _to_int8(conv: Op, source: Op, unit: Array, seen: Seen) -> Array:
    """Let `conv` read bytes whose steps are worth `unit` (c,); its exact weights for them."""
    assert conv.weights is not None
    o, cg, *kernel = conv.weights.shape
    of_group = unit.reshape(conv.groups, cg)
    filters = conv.weights * of_group.repeat(o // conv.groups, axis=0)[:, :, None, None]
    moments = seen.moments[conv].mean if conv in seen.moments else None
    if moments is not None:
        steps = of_group.repeat(int(np.prod(kernel)), axis=1)
        moments = moments / (steps[:, :, None] * steps[:, None, :])
    conv.kind, conv.inputs, conv.open = "int8_conv", (source,), False
    conv.weights, conv.scale = quantize_weights(filters, moments)
    return filters


def _refine(conv: Op, exact: Array) -> None:
    """Make `conv` the sum of two int8 convolutions: its own, and one with what its weights lost."""
    assert conv.weights is not None
    lost = exact - conv.weights * conv.scale.astype(np.float64)[:, None, None, None]
    weights, scale = quantize_weights(lost)
    coarse = replace(conv)
    fine = replace(conv, name=f"{conv.name}{FINE}", weights=weights, scale=scale)
    conv.kind, conv.inputs = "add_value", (fine, coarse)
    conv.weights = conv.scale = conv.zero = None


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


def _affines(convs: Sequence[Op], seen: Seen) -> dict[Op, Affine]:
    found: dict[Op, Affine] = {}
    for source in dict.fromkeys(conv.inputs[0] for conv in convs):
        if source in seen.samples:
            found[source] = choose_range(np.concatenate(seen.samples[source]))
        elif source.kind == "binary_conv" and source.inputs[0].kind == "sign":
            # Signs as floats: -1 and +1 are the bytes 0 and 2, exactly.
            found[source] = Affine(np.float32(1), 1)
    return found
