"""The two binary layers: convolution and linear.

Both hold a real latent weight and ask their method's binarizers for the rest. In training mode the
scale rides on the (small) weight tensor; in evaluation the layer computes with bare ±1 weights and
scales the output, so every accumulator is an exact integer (in float32, below 2^24) and a packed net
can match it bit for bit. Autocast acts on the product alone: a weight that is binarized from rounded
numbers would be another one than the weight that ships.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.methods.contract import ActivationBinarizer, Method, Progress, WeightBinarizer

Product = Callable[[Tensor, Tensor], Tensor]
"""A layer's product of padded codes and a weight, linear in both."""


class Penalized(nn.Module):
    """A module that adds a term of its own to the loss."""

    def penalty(self) -> Tensor | None:
        """The term, of one element; None for nothing."""
        raise NotImplementedError


class BinaryLayer(Penalized):
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
        groups = source.groups if isinstance(source, nn.Conv2d) else 1
        if groups > 1 and method.why_ungrouped:
            raise BitlensError(f"it is a convolution of {groups} groups; {method.why_ungrouped}")
        self.weight = cast(nn.Parameter, source.weight)
        self.bias = cast(nn.Parameter | None, source.bias)
        self.method_name = method_name
        self.clamp, self.latent_decay = method.clamp, method.latent_decay
        self.deploy, self.why_runtime = method.deploy, method.why_runtime
        self.activation = method.activation(channels, progress)
        self.weight_binarizer = method.weight(self.weight.detach(), progress)
        self.output = None if method.output is None else method.output(self.weight.detach())
        self.binary_weights = True
        """False in the stages of a plan that train real weights."""
        self.binary_activations = True
        """False in a stage that clips activations where later ones take signs."""
        self.to(source.weight.device, source.weight.dtype)
        self.train(source.training)

    def _codes(self, x: Tensor) -> Tensor:
        """Signs, or what stands for them in a stage of real activations, in the method's levels."""
        low, high = self.activation.levels
        if not self.binary_activations:
            return x.clamp(low, high)
        signs = self.activation(x)
        if (low, high) == (-1.0, 1.0):
            return signs
        return signs * ((high - low) / 2) + (high + low) / 2

    def _forward(self, codes: Tensor, product: Product) -> Tensor:
        """The layer's output from its padded codes."""
        binarizer = self.weight_binarizer
        if self.binary_weights and not self.training:
            with _without_autocast(self.weight.device):
                signs, scale = binarizer.decompose(self.weight)
                offset = binarizer.offset(self.weight)
            return self._evaluated(codes, product, signs, scale, offset)
        with _without_autocast(self.weight.device):
            real = self.weight
            weight = binarizer(real) if self.binary_weights else binarizer.relaxed(real)
        affine = self._affine()
        if affine is None:
            return self._finished(product(codes, weight))
        # Gain and bias act on the small weight, not on the large codes.
        gain, bias = affine
        constant = self._across(weight.flatten(1).sum(1) * bias)
        return self._finished(product(codes, weight * gain) + constant)

    def _evaluated(
        self, codes: Tensor, product: Product, signs: Tensor, scale: Tensor, offset: Tensor | None
    ) -> Tensor:
        """Every product is one of levels and ±1 weights; the rest is arithmetic on whole sums."""
        out = product(codes, signs) * self._across(scale)
        if offset is not None:
            out = out + product(codes, torch.ones_like(signs)) * self._across(offset)
        affine = self._affine()
        if affine is not None:
            sums = signs.flatten(1).sum(1) * scale
            if offset is not None:
                sums = sums + signs[0].numel() * offset
            out = out * affine[0] + self._across(sums * affine[1])
        return self._finished(out)

    def _finished(self, out: Tensor) -> Tensor:
        if self.output is not None:
            out = self.output(out)
        return out if self.bias is None else out + self._across(self.bias)

    def _affine(self) -> tuple[Tensor, Tensor] | None:
        return self.activation.affine() if self.binary_activations else None

    def _across(self, values: Tensor) -> Tensor:
        """View (o,) so that it broadcasts over the layer's output."""
        return values.view(-1, *([1] * (self.weight.dim() - 2)))

    def signs(self) -> Tensor:
        """The ±1 weights that deployment keeps, shaped as the latent weight."""
        with _without_autocast(self.weight.device):
            return self.weight_binarizer.decompose(self.weight)[0]

    def penalty(self) -> Tensor | None:
        """What the method adds to the loss for this layer, of one element; None for nothing."""
        return self.weight_binarizer.penalty(self.weight)

    @torch.no_grad()
    def before_step(self) -> None:
        """The method's change of gradients, between backward pass and optimizer step."""
        if self.binary_weights:
            self.weight_binarizer.before_step(self.weight)

    @torch.no_grad()
    def after_step(self) -> None:
        """The method's moves after an optimizer step, among them its bound on the latent weights."""
        if self.clamp is not None:
            self.weight.clamp_(-self.clamp, self.clamp)
        if self.binary_weights:
            self.weight_binarizer.after_step(self.weight)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast switched off; nothing at all where it is off, so that no trace of a net holds it."""
    kind = device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


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
        stride, dilation, groups = self.stride, self.dilation, self.groups
        return self._forward(
            codes, lambda c, w: F.conv2d(c, w, None, stride, padding, dilation, groups)
        )

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
        return self._forward(codes, F.linear)

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


def before_step(net: nn.Module) -> None:
    """Let every method change its gradients; call between `backward()` and the optimizer's step.

    With a gradient scaler, after its `unscale_`.
    """
    for layer in _layers(net):
        layer.before_step()


def after_step(net: nn.Module) -> None:
    """Let every method bound or move its weights; call after each optimizer step."""
    for layer in _layers(net):
        layer.after_step()


def penalty(net: nn.Module) -> Tensor | None:
    """The sum of what methods and other `Penalized` modules add to the loss; None when none does."""
    found = (module.penalty() for module in net.modules() if isinstance(module, Penalized))
    terms = [term.sum() for term in found if term is not None]
    return torch.stack(terms).sum() if terms else None


def _layers(net: nn.Module) -> Iterator[BinaryLayer]:
    return (module for module in net.modules() if isinstance(module, BinaryLayer))
