"""Taps: observe the activations of the one forward pass that training makes anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError, near
from bitlens.methods.contract import Sign
from bitlens.models.convert import matches
from bitlens.models.layers import BinaryConv2d, BinaryLinear, binary_layers


class SignTaps:
    """Records (a_F, a_B) of chosen binary layers during training forwards."""

    def __init__(self, net: nn.Module, layers: str) -> None:
        found = _unshared(binary_layers(net))
        if not found:
            raise BitlensError(
                "cmim: the net has no binary layer; call bitlens.binarize(net) first"
            )
        self.names = _choose(list(found), layers)
        self._layers = [found[name] for name in self.names]
        self._pairs: dict[str, tuple[Tensor, Tensor]] = {}
        for name in self.names:
            found[name].activation.sign.register_forward_hook(self._recorder(name))

    def features(self, grid: int) -> list[int]:
        """Columns of each layer's features when maps are pooled to `grid` x `grid`."""
        return [
            layer.in_features if isinstance(layer, BinaryLinear) else layer.in_channels * grid**2
            for layer in self._layers
        ]

    def _recorder(self, name: str) -> Any:
        def record(module: Sign, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if module.training and torch.is_grad_enabled():
                self._pairs[name] = (inputs[0], output)

        return record

    def take(self) -> list[tuple[Tensor, Tensor]]:
        """The pairs of the last training forward, layer by layer; forgets them."""
        missing = [name for name in self.names if name not in self._pairs]
        if missing:
            raise BitlensError(
                f"cmim: no activations of layer {missing[0]!r}; run net(x) in training mode, with "
                "gradients, before each call (one call a forward pass)"
            )
        pairs = [self._pairs[name] for name in self.names]
        self._pairs.clear()
        return pairs


class NetTap:
    """Records the input, the output and the last linear layer's input of training forwards."""

    def __init__(self, net: nn.Module) -> None:
        self._input: Tensor | None = None
        self._output: Tensor | None = None
        self._feature: Tensor | None = None
        self.classifier = last_linear(net)
        net.register_forward_hook(self._record)
        self.classifier.register_forward_hook(self._record_feature)

    def _record(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if module.training and torch.is_grad_enabled():
            self._input, self._output = inputs[0], output

    def _record_feature(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if module.training and torch.is_grad_enabled():
            self._feature = inputs[0]

    def take(self) -> tuple[Tensor, Tensor, Tensor]:
        """(input, output, feature) of the last training forward; forgets them."""
        if self._input is None or self._output is None or self._feature is None:
            raise BitlensError(
                "objective: no forward pass recorded; run net(x) in training mode, with gradients, "
                "before each call (one call a forward pass)"
            )
        taken = self._input, self._output, self._feature
        self._input = self._output = self._feature = None
        return taken


def last_linear(net: nn.Module) -> nn.Linear | BinaryLinear:
    """The last linear layer in registration order: the classifier of every net here.

    Raises:
        BitlensError: the net has none.
    """
    found = [m for m in net.modules() if isinstance(m, nn.Linear | BinaryLinear)]
    if not found:
        raise BitlensError(
            "objective: the net has no linear layer whose input could be the feature"
        )
    return found[-1]


def _unshared(
    layers: dict[str, BinaryConv2d | BinaryLinear],
) -> dict[str, BinaryConv2d | BinaryLinear]:
    """Layers that share one activation binarizer see one pair; keep the first name."""
    seen: dict[int, str] = {}
    for name, layer in layers.items():
        seen.setdefault(id(layer.activation), name)
    return {name: layers[name] for name in seen.values()}


def _choose(names: Sequence[str], wanted: str) -> list[str]:
    if wanted == "all":
        return list(names)
    if wanted == "last":
        return [names[-1]]
    patterns = [part.strip() for part in wanted.split(",") if part.strip()]
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            close = near(pattern, names)
            hint = (
                f"did you mean {' or '.join(close)}?"
                if close
                else f"binary layers: {', '.join(names)}"
            )
            raise BitlensError(f"cmim: layers={pattern!r} matches no binary layer; {hint}")
    chosen = [name for name in names if any(matches(name, pattern) for pattern in patterns)]
    if not chosen:
        raise BitlensError(f"cmim: layers={wanted!r} names nothing; use all, last, or layer names")
    return chosen
