"""The two binary layers: convolution and linear.

Both hold a real latent weight and ask their method's binarizers for the rest. In training mode the
scale rides on the (small) weight tensor; in evaluation the layer computes with bare ±1 weights and
scales the output, so every accumulator is an exact integer (in float32, below 2^24) and a packed net
can match it bit for bit.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.methods.contract import ActivationBinarizer, Method, Progress, WeightBinarizer


class BinaryLayer(nn.Module):
    """What both layers share: latent weight, bias, binarizers and the weight's current view.

    In evaluation mode gradients reach the input and the bias, never the latent weight; to fine-tune
    with frozen batch norms, put the norms alone into evaluation mode.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    activation: ActivationBinarizer
    weight_binarizer: WeightBinarizer

    def __init__(
        self, source: nn.Conv2d | nn.Linear, method: Method, method_name: str, progress: Progress
    ) -> None:
        super().__init__()
        channels = source.in_channels if isinstance(source, nn.Conv2d) else source.in_features
        self.weight = cast(nn.Parameter, source.weight)
        self.bias = cast(nn.Parameter | None, source.bias)
        self.method_name = method_name
        self.clamp = method.clamp
        self.activation = method.activation(channels, progress)
        self.weight_binarizer = method.weight(progress)
        self.binary_weights = True
        """False in the first stage of a two-step plan: real weights, binary activations."""
        self.to(source.weight.device, source.weight.dtype)
        self.train(source.training)

    def _codes(self, x: Tensor) -> Tensor:
        """The two-level input of the arithmetic, in the method's levels."""
        signs = self.activation(x)
        low, high = self.activation.levels
        if (low, high) == (-1.0, 1.0):
            return signs
        return signs * ((high - low) / 2) + (high + low) / 2

    def _weight_and_scale(self) -> tuple[Tensor, Tensor | None]:
        if not self.binary_weights:
            return self.weight, None
        if self.training:
            return self.weight_binarizer(self.weight), None
        return self.weight_binarizer.decompose(self.weight)

    def signs(self) -> Tensor:
        """The ±1 weights that deployment keeps, shaped as the latent weight."""
        return self.weight_binarizer.decompose(self.weight)[0]

    @torch.no_grad()
    def clamp_latent(self) -> None:
        """Apply the method's bound on the latent weights; called after each optimizer step."""
        if self.clamp is not None:
            self.weight.clamp_(-self.clamp, self.clamp)


class BinaryConv2d(BinaryLayer):
    """Convolution of binarized input (n, c, h, w) with binarized weight (o, c / groups, kh, kw).

    `pad` is what a padded position contributes in the sign domain: 0 (nothing, as in most papers'
    code, so borders see three levels), +1 or -1.
    """

    def __init__(
        self,
        source: nn.Conv2d,
        method: Method,
        method_name: str,
        progress: Progress,
        pad: Literal[0, 1, -1],
    ) -> None:
        super().__init__(source, method, method_name, progress)
        self.in_channels, self.out_channels = source.in_channels, source.out_channels
        self.kernel_size, self.stride = source.kernel_size, source.stride
        self.dilation, self.groups = source.dilation, source.groups
        self.padding_mode, self.pad = source.padding_mode, pad
        self.padding = source.padding
        self._edges = _edges(source)

    @property
    def _pads_with_zero(self) -> bool:
        low, _ = self.activation.levels
        return self.padding_mode == "zeros" and (self.pad == 0 if low == -1.0 else self.pad == -1)

    def forward(self, x: Tensor) -> Tensor:
        """Real (n, c, h, w) -> real (n, o, h', w'), or both without n, as nn.Conv2d allows."""
        if x.dim() == 3:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        codes = self._codes(x)
        padding = self.padding
        if any(self._edges) and not self._pads_with_zero:
            codes, padding = self._padded(codes), 0
        weight, scale = self._weight_and_scale()
        bias = self.bias if scale is None else None
        out = F.conv2d(codes, weight, bias, self.stride, padding, self.dilation, self.groups)
        if scale is None:
            return out
        out = out * scale.view(1, -1, 1, 1)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)

    def _padded(self, codes: Tensor) -> Tensor:
        if self.padding_mode != "zeros":
            return F.pad(codes, self._edges, mode=self.padding_mode)
        low, high = self.activation.levels
        value = {-1: low, 0: (low + high) / 2, 1: high}[self.pad]
        return F.pad(codes, self._edges, value=value)

    def extra_repr(self) -> str:
        """Shape, stride, padding and method, for print(net)."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, pad={self.pad:+d}, method={self.method_name}"
        )


def _edges(source: nn.Conv2d) -> tuple[int, ...]:
    """Padded positions at left, right, top and bottom, the order of F.pad."""
    if source.padding_mode != "zeros" or isinstance(source.padding, str):
        return tuple(source._reversed_padding_repeated_twice)
    # nn.Conv2d fixes the list above when it is made, but its forward reads `padding`, which
    # segmentation nets change later to dilate a pretrained backbone.
    rows, columns = source.padding
    return (columns, columns, rows, rows)


class BinaryLinear(BinaryLayer):
    """Product of binarized input (..., c) with binarized weight (o, c)."""

    def __init__(
        self, source: nn.Linear, method: Method, method_name: str, progress: Progress
    ) -> None:
        super().__init__(source, method, method_name, progress)
        self.in_features, self.out_features = source.in_features, source.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Real (..., c) -> real (..., o); thresholds are per last-axis feature."""
        codes = self._codes(x.reshape(-1, x.shape[-1])).view(x.shape)
        weight, scale = self._weight_and_scale()
        if scale is None:
            return F.linear(codes, weight, self.bias)
        out = F.linear(codes, weight) * scale
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """Shape and method, for print(net)."""
        return f"{self.in_features}, {self.out_features}, method={self.method_name}"


def binary_layers(net: nn.Module) -> dict[str, BinaryConv2d | BinaryLinear]:
    """Every binary layer of `net` by its module name, in registration order."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, BinaryConv2d | BinaryLinear)
    }
