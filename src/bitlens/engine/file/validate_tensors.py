"""What each operation asks of its tensors: type, shape, and numbers that make sense."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.graph import Node
from bitlens.engine.words import block_shape, empty_bits, empty_block_bits, words_for

_PART = 1 << 18
"""Numbers looked at in one go, so that the answers take no memory worth the name."""

ZERO_LIMIT = 1 << 16
"""Farthest that the byte of real zero may lie from 0; means of images lie in 0 to 255."""

Array = npt.NDArray[Any]


def named_tensors(node: Node) -> Iterator[str]:
    """Names of all tensors that a node uses."""
    names = [node.weights, node.scale, node.zero]
    for step in node.steps:
        names += [step.a, step.b]
    return (name for name in names if name is not None)


class TensorRules:
    """Checks the tensors of one graph; one that serves many nodes is looked through once."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors
        self._passed: set[tuple[object, ...]] = set()

    def weights(self, node: Node, channels: int) -> None:
        """Check the weights of a convolution of `channels` input channels, and what belongs to them.

        Raises:
            BitsFileError: naming the field.
        """
        o, cg, (kh, kw), groups = (
            node.shape[2],
            channels // node.groups,
            node.window.kernel,
            node.groups,
        )
        shape = (o, cg, kh, kw)
        rows = (o, kh, kw, cg)
        match node.op:
            case "binary_conv":
                blocks = block_shape(shape, groups)
                rule = ("blocks", shape, groups)
                self._look(
                    "weights", node.weights, np.uint32, blocks, rule, _blocks_rule(shape, groups)
                )
            case "sign_conv":
                words = (o, kh, kw, words_for(cg))
                self._look("weights", node.weights, np.uint32, words, ("rows", cg), _rows_rule(cg))
            case "int8_conv":
                self._look("weights", node.weights, np.int8, rows, ("sums",), _no_overflow)
                self.constant("scale", node.scale, o)
                self._look("zero", node.zero, np.float32, (channels,), ("zero",), _near_bytes)
            case _:
                self._look("weights", node.weights, np.float32, rows, ("finite",), _finite)

    def constant(self, field: str, name: str | None, channels: int) -> None:
        """Check a float32 constant of one finite number a channel.

        Raises:
            BitsFileError: naming the field.
        """
        self._look(field, name, np.float32, (channels,), ("finite",), _finite)

    def threshold(self, name: str | None, channels: int) -> None:
        """Check the thresholds of a sign, which may be infinite: never or always set.

        Raises:
            BitsFileError: naming the field.
        """
        self._look("a", name, np.float32, (channels,), ("no NaN",), _no_nan)

    def bits(self, name: str, channels: int) -> None:
        """Check what is xored onto the bits of a sign: 0 or 1 a channel.

        Raises:
            BitsFileError: naming the field.
        """
        self._look("b", name, np.uint8, (channels,), ("bits",), _zero_or_one)

    def _look(
        self,
        field: str,
        name: str | None,
        dtype: Any,
        shape: tuple[int, ...],
        rule: tuple[object, ...],
        complaint: Callable[[Array], str | None],
    ) -> None:
        tensor = self._tensors.get(str(name))
        if tensor is None:
            raise BitsFileError(f"{field}: there is no tensor {shown(name)}")
        if tensor.dtype != dtype or tensor.shape != shape:
            raise BitsFileError(
                f"{field}: tensor {shown(name)} is {tensor.dtype} {tensor.shape}, "
                f"it should be {np.dtype(dtype)} {shape}"
            )
        if (name, rule) in self._passed:
            return
        if found := complaint(tensor):
            raise BitsFileError(f"{field}: {found} in tensor {shown(name)}")
        self._passed.add((name, rule))


def _parts(tensor: Array) -> Iterator[Array]:
    flat = tensor.reshape(-1)
    return (flat[start : start + _PART] for start in range(0, flat.size, _PART))


def _finite(tensor: Array) -> str | None:
    return (
        None
        if all(np.isfinite(part).all() for part in _parts(tensor))
        else "a number is not finite"
    )


def _near_bytes(tensor: Array) -> str | None:
    """A byte that stands for zero, or would: small enough for sums in float64 not to depend on order."""
    near = all((np.abs(part) <= ZERO_LIMIT).all() for part in _parts(tensor))
    return None if near else f"a number is not within {ZERO_LIMIT} of zero"


def _no_nan(tensor: Array) -> str | None:
    return "a threshold is NaN" if any(np.isnan(part).any() for part in _parts(tensor)) else None


def _zero_or_one(tensor: Array) -> str | None:
    return "a number is neither 0 nor 1" if tensor.max() > 1 else None


def _no_overflow(weights: Array) -> str | None:
    """The sum of bytes times weights must fit int32 in any order of summation."""
    if math.prod(weights.shape[1:]) * 255 * 128 < 2**31:
        return None
    largest = max(
        sum(int(np.abs(part.astype(np.int64)).sum()) for part in _parts(row)) for row in weights
    )
    return "sums of bytes times weights do not fit 32 bits" if largest * 255 >= 2**31 else None


_BEYOND = "bits beyond the channels are not zero"


def _blocks_rule(shape: tuple[int, int, int, int], groups: int) -> Callable[[Array], str | None]:
    return lambda words: None if empty_block_bits(words, shape, groups) else _BEYOND


def _rows_rule(channels: int) -> Callable[[Array], str | None]:
    return lambda words: None if empty_bits(words, channels) else _BEYOND
