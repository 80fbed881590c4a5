"""Taps: observe the activations of the one forward pass that training makes anyway."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bitlens.errors import BitlensError, near
from bitlens.methods.contract import Sign
from bitlens.models.convert import matches
from bitlens.models.layers import BinaryConv2d, BinaryLinear, binary_layers
from bitlens.objectives.anchors import Anchors
from bitlens.objectives.samples import Samples


class SignTaps:
    """Takes samples of (a_F, a_B) of chosen binary layers during training forwards.

    Sampling happens in the forward pass and not when the pairs are taken: a node made there runs after
    the layer's own in the backward pass, so its gradient is added in place to a map that exists.
    """

    def __init__(self, net: nn.Module, layers: str, samples: Samples) -> None:
        found = _unshared(binary_layers(net))
        if not found:
            raise BitlensError(
                "cmim: the net has no binary layer; call bitlens.binarize(net) first"
            )
        self.names = _choose(list(found), layers)
        self.features = [samples.columns(found[name]) for name in self.names]
        """Columns of each layer's samples."""
        self._seen: dict[str, Any] = {}
        handles = [net.register_forward_pre_hook(_Forget(self._seen))]
        for number, name in enumerate(self.names):
            layer = found[name]
            recorder = _PairRecorder(number, name, self._seen, samples)
            handles.append(layer.activation.sign.register_forward_hook(recorder))
            if isinstance(layer, BinaryLinear):
                handles.append(layer.register_forward_pre_hook(recorder.keep_shape))
        weakref.finalize(self, _remove, handles)

    def take(self) -> list[tuple[Tensor, Tensor, Anchors | None]]:
        """Rows of a_F, rows of a_B and which samples they are, layer by layer; forgets them."""
        missing = [name for name in self.names if name not in self._seen]
        if missing:
            raise BitlensError(
                f"cmim: no activations of layer {missing[0]!r}; run net(x) in training mode, with "
                "gradients, before each call (one call a forward pass)"
            )
        pairs = [self._seen[name] for name in self.names]
        self._seen.clear()
        return pairs


class NetTap:
    """Records the input, the output and the last linear layer's input of training forwards."""

    def __init__(self, net: nn.Module) -> None:
        self._seen: dict[str, Any] = {}
        handles = [
            net.register_forward_pre_hook(_Forget(self._seen)),
            net.register_forward_hook(_Recorder(("input", "output"), self._seen)),
            last_linear(net).register_forward_hook(_Recorder(("feature", "logits"), self._seen)),
        ]
        weakref.finalize(self, _remove, handles)

    def take(self) -> tuple[Tensor, Tensor, Tensor]:
        """(input, output, feature) of the last training forward; forgets them."""
        if not self._seen.keys() >= {"input", "output", "feature"}:
            raise BitlensError(
                "objective: no forward pass recorded; run net(x) in training mode, with gradients, "
                "before each call (one call a forward pass)"
            )
        taken = self._seen["input"], self._seen["output"], self._seen["feature"]
        self._seen.clear()
        return taken


class _Recorder:
    """Hook that keeps a module's first input and its output under two names.

    Hooks are objects that hold the dictionary, not the tap: a deep copy of net and tap together then
    stays connected to itself, and dropping the tap frees it and removes its hooks.
    """

    def __init__(self, names: tuple[str, str], seen: dict[str, Any]) -> None:
        self.names, self.seen = names, seen

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module.training and torch.is_grad_enabled():
            self.seen.update(zip(self.names, (inputs[0], output), strict=True))


class _PairRecorder:
    """Hook that keeps the samples of one `Sign`'s pair under the layer's name."""

    def __init__(self, number: int, name: str, seen: dict[str, Any], samples: Samples) -> None:
        self.number, self.name, self.seen, self.samples = number, name, seen, samples
        self.shape: tuple[int, ...] | None = None

    def keep_shape(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Remember which rows belong to one image: a linear layer flattens them before the sign."""
        x = inputs[0]
        # With channels last, positions in rows and columns must not pass for a map (n, c, h, w).
        self.shape = (len(x), x.shape[1:-1].numel(), x.shape[-1]) if x.dim() == 4 else x.shape

    def __call__(self, module: Sign, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module.training and torch.is_grad_enabled():
            a_f, a_b = (
                a if self.shape is None else a.view(self.shape) for a in (inputs[0], output)
            )
            anchors = self.samples.choose(self.number, a_f)
            rows = (self.samples.take(a, anchors) for a in (a_f, a_b))
            self.seen[self.name] = (*rows, anchors)


class _Forget:
    """Hook that drops what an earlier forward pass left, so two passes never mix."""

    def __init__(self, seen: dict[str, Any]) -> None:
        self.seen = seen

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.seen.clear()


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


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
