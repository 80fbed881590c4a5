"""The two torch operators that a traced net keeps whole: a sign, and a convolution with ±1 weights.

Everything else of a net is captured as the ATen operators it consists of. Both have a fake kernel by being
written in torch operators, so `torch.export` can follow the shapes through them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.bits import sign_values


def _conv(
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    edges: list[int],
    dilation: list[int],
    groups: int,
    padded: float,
    unit: bool,
    layer: str,
) -> Tensor:
    levels = x * 0.5 + 0.5 if unit else x
    image = F.pad(levels, edges, value=padded) if any(edges) else levels
    return F.conv2d(image, weight, None, stride, 0, dilation, groups)


sign = torch.library.custom_op(
    "bitlens::sign", sign_values, mutates_args=(), schema="(Tensor x) -> Tensor"
)
"""-1 or +1 for every entry, 0 -> +1."""
sign.register_fake(torch.empty_like)

binary_conv = torch.library.custom_op(
    "bitlens::binary_conv",
    _conv,
    mutates_args=(),
    schema=(
        "(Tensor x, Tensor weight, int[] stride, int[] edges, int[] dilation, int groups, float padded, "
        "bool unit, str layer) -> Tensor"
    ),
)
"""Convolution of x (n, c, h, w) with ±1 weights, without scale and bias.

`edges` are padded positions at left, right, top and bottom, each of value `padded`. With `unit` the
convolution sees x / 2 + 1/2, levels 0 and 1 for signs. `layer` is the binary layer's module path.
"""
binary_conv.register_fake(_conv)
