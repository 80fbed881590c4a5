"""The packed graph: what a `.bits` file means, and what every part of the engine agrees on.

A graph is a list of nodes over named values. A node reads values of one image, makes one number t per
output element (a dot product, a pooled value, the element itself) and then walks through its `steps`:
arithmetic on t, and the sinks that write t somewhere as a float, a sign or a byte. Shapes are (h, w, c);
a value without spatial extent is (1, 1, c).

All arithmetic on t is float32, one rounding a step, in the order the torch net computes it, so that a
binary layer's codes are those of the torch net to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

SCHEMA = 2
"""Newest version of the graph and of the file around it."""

LANES = 16
"""Channels a vector holds; float values keep their channels in whole vectors."""

BLOCK = 64
"""Output channels a block of packed weights holds."""

Kind = Literal["codes", "float", "u8"]


@dataclass(frozen=True, kw_only=True)
class Value:
    """One tensor of one image.

    `codes` are signs, 32 channels to a word, bit j of word i is channel 32 i + j, set where +1. `float`
    is float32. `u8` is unsigned bytes: an image, or a float value quantized by a `quantize` step.
    """

    name: str
    kind: Kind
    shape: tuple[int, int, int]


StepOp = Literal[
    "multiply",
    "add",
    "multiply_add",
    "add_value",
    "multiply_value",
    "prelu",
    "clamp",
    "store",
    "sign",
    "quantize",
]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation on t, the running float32 number of an output element.

    | op | effect | uses |
    |---|---|---|
    | multiply | t = t * a[c] | a |
    | add | t = t + a[c] | a |
    | multiply_add | t = fma(t, a[c], b[c]), rounded once | a, b |
    | add_value, multiply_value | t = t + v or t * v; v of the node's output shape or (1, 1, c) | value |
    | prelu | t = t if t > 0 else t * a[c] | a |
    | clamp | t = min(max(t, low), high); NaN stays | low, high |
    | store | write t | value (float) |
    | sign | bit = (t >= a[c]) xor b[c] | value (codes), a, b |
    | quantize | byte = clip(rint(t * scale) + zero, 0, 255), half to even | value (u8), scale, zero |

    `a` and `b` name tensors of shape (c,): float32, but `b` of a sign is uint8 and optional. `value` is
    read by `add_value` and `multiply_value` and made by the last three, which leave t as it is.
    """

    op: StepOp
    a: str | None = None
    b: str | None = None
    value: str | None = None
    low: float = -np.inf
    high: float = np.inf
    scale: float = 1.0
    zero: int = 0


NodeOp = Literal[
    "binary_conv",
    "int8_conv",
    "float_conv",
    "sign_conv",
    "max_pool",
    "avg_pool",
    "elementwise",
    "concat",
    "pad",
    "slice",
    "resize",
    "flatten",
    "unary",
]

TILED: frozenset[str] = frozenset(
    ("binary_conv", "int8_conv", "float_conv", "sign_conv", "max_pool", "avg_pool", "elementwise")
)
"""Nodes with steps. The others copy or move whole values and write `output` themselves."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Geometry of a convolution or pooling, (rows, columns) each.

    `pads` are positions added at (top, left, bottom, right), `ceil` included: with them every output
    position's window lies inside. Output size: (size + pads - dilation (kernel - 1) - 1) // stride + 1.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation of the net.

    How t arises (o is the output channel, the sum runs over window and the group's input channels):

    * binary_conv: codes -> sum of input sign times weight sign, an exact integer. A padded position
      counts `pad` (0, +1 or -1) times its weight. With `unit` the input levels are 0 and 1 instead of
      -1 and +1, and a padded position counts (pad + 1) / 2. `weights`: uint32
      (groups * ceil(og / 64), kh * kw * ceil(cg / 32), 64): block, then words of the window in the order
      row, column, channel word, then output channel; bits beyond a group's channels and output channels
      beyond og are zero.
    * int8_conv: u8 -> fl(fl(acc) * scale[o]) + offset, acc the integer sum of byte times int8 weight over
      positions inside the image, offset = -scale[o] * (the sum of weight times zero[c] over the same
      positions), taken in float64 and rounded once to float32. So a padded position counts as real 0.
      `weights`: int8 (o, kh, kw, cg). `scale`: float32 (o,). `zero`: float32 (c,).
    * float_conv: float -> sum of x times weight; order of summation open. `weights`: float32 (o, kh, kw, cg).
    * sign_conv: float -> the same with 1-bit weights. `weights`: uint32 (o, kh, kw, ceil(cg / 32)).
    * max_pool: float -> largest inside the image.
    * avg_pool: float -> fl(sum) / count, summed row by row; `count` in `attributes`: "inside" (positions
      inside the image), "padded" (positions of image and symmetric padding; `padding` gives it as
      (rows, columns)) or an integer.
    * elementwise: float -> the element itself.
    * concat: floats -> one float, along channels.
    * pad: float -> float with `pads` (top, left, bottom, right) and `channels` (before, after) filled by
      `value`, or `mode` "reflect" | "replicate" | "circular" for the sides.
    * slice: float -> rows start:stop:step, columns and channels alike (`rows`, `columns`, `channels`).
    * resize: float -> `mode` "nearest" | "bilinear", `align_corners`, with `scale` (rows, columns) or null.
    * flatten: float (h, w, c) -> (1, 1, c h w) in torch's order: channel, row, column.
    * unary: float -> `function` of "sigmoid", "tanh", "silu", "gelu", "hardswish", "hardsigmoid",
      "elu", "exp", "abs", "sqrt".

    `name` is the layer's module path, or of the values' making where there is no layer. `inputs` are the
    values read besides those in `steps`. `output` is the value of a node without steps.
    """

    name: str
    op: NodeOp
    inputs: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    output: str | None = None
    shape: tuple[int, int, int]
    window: Window = field(default_factory=Window)
    groups: int = 1
    pad: Literal[0, 1, -1] = 0
    unit: bool = False
    weights: str | None = None
    scale: str | None = None
    zero: str | None = None
    attributes: dict[str, object] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values this node makes."""
        made = (s.value for s in self.steps if s.op in ("store", "sign", "quantize"))
        own = () if self.output is None else (self.output,)
        return (*own, *(value for value in made if value is not None))

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the values this node needs."""
        more = (s.value for s in self.steps if s.op in ("add_value", "multiply_value"))
        return (*self.inputs, *(value for value in more if value is not None))


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A packed net.

    Attributes:
        nodes: in an order in which every value is made before it is read.
        values: by name, the input and the output among them.
        tensors: weights and constants by name.
        input: name of the value that holds the image, `u8` or `float`.
        output: name of the float value that holds the answer.
        output_rank: 2 where torch answers (n, c), 4 where (n, c, h, w).
        mean, std: normalisation of the net's float input, x = (byte / 255 - mean) / std per channel; None
            where the net was packed without one.
        labels: class names, or empty.
        meta: where the net comes from: method, model, data, bitlens version, float bytes, accuracy.
    """

    nodes: tuple[Node, ...]
    values: dict[str, Value]
    tensors: dict[str, npt.NDArray]
    input: str
    output: str
    output_rank: Literal[2, 4]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] = ()
    meta: dict[str, object] = field(default_factory=dict)
