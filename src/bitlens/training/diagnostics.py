"""What silently goes wrong in a binary net, measured: flips, dead codes, and where NaN first appears."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.methods.contract import Sign
from bitlens.models.layers import binary_layers


def weight_signs(net: nn.Module) -> dict[str, Tensor]:
    """The signs of every binary layer's weights, as bool, by layer name."""
    return {name: layer.signs() > 0 for name, layer in binary_layers(net).items()}


def flip_rates(
    before: dict[str, Tensor], after: dict[str, Tensor]
) -> tuple[float | None, dict[str, float]]:
    """Share of weight signs that differ: over all binary weights, and per layer.

    The first is None for a net without binary layers.
    """
    flipped = {name: int((before[name] != after[name]).sum()) for name in after}
    sizes = {name: signs.numel() for name, signs in after.items()}
    total = sum(sizes.values())
    rates = {name: flipped[name] / sizes[name] for name in after}
    return (sum(flipped.values()) / total if total else None), rates


class CodeStatistics:
    """Counts how often each channel's activation sign is +1 while it is entered."""

    def __init__(self, net: nn.Module) -> None:
        self._layers = binary_layers(net)
        self._positive: dict[str, Tensor] = {}
        self._count: dict[str, int] = {}

    @contextmanager
    def watching(self) -> Generator[CodeStatistics]:
        """Observe every activation sign inside the block."""
        handles = [
            layer.activation.sign.register_forward_hook(self._counter(name))
            for name, layer in self._layers.items()
        ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _counter(self, name: str) -> Any:
        def count(module: Sign, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            axes = [axis for axis in range(output.dim()) if axis != 1]
            total = output.detach().sum(axes, dtype=torch.float64)
            seen = output.numel() // output.shape[1]
            self._positive[name] = self._positive.get(name, 0) + (total + seen) / 2
            self._count[name] = self._count.get(name, 0) + seen

        return count

    def positive_rates(self) -> dict[str, Tensor]:
        """P(+1) per channel of each layer's input code."""
        return {name: self._positive[name] / self._count[name] for name in self._positive}

    def entropies(self) -> dict[str, float]:
        """Mean over channels of the entropy of one activation sign, bits in [0, 1], per layer."""
        return {
            name: float(sign_entropy(rate).mean()) for name, rate in self.positive_rates().items()
        }


def sign_entropy(positive_rate: Tensor) -> Tensor:
    """Entropy in bits of a sign that is +1 with the given probability."""
    p = positive_rate.double()
    return -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)) / math.log(2)


def constant_codes(statistics: CodeStatistics) -> list[str]:
    """Layers in which no channel's sign ever changed: a sign behind a ReLU, or a dead layer."""
    return [
        name
        for name, rate in statistics.positive_rates().items()
        if bool(((rate == 0) | (rate == 1)).all())
    ]


def blame_non_finite(task: nn.Module, run: Any, epoch: int, step: int) -> BitlensError:
    """Find where NaN or infinity enters, for a step whose loss is not finite.

    Args:
        task: the module that gave the loss; its parameters are searched first.
        run: calls it once more on the same images, so that hooks see every module's output.
        epoch: epoch of the step, from 1.
        step: step in the run, from 1.
    """
    where = f"the loss is not finite at epoch {epoch}, step {step}"
    for name, parameter in task.named_parameters():
        if not bool(parameter.isfinite().all()):
            return BitlensError(
                f"{where}: parameter {name!r} holds NaN or infinity; lower the learning rate (lr) or warm up"
            )
    first: list[str] = []

    def watch(name: str) -> Any:
        def check(module: nn.Module, inputs: Any, output: Any) -> None:
            if not first and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                first.append(name)

        return check

    handles = [m.register_forward_hook(watch(n)) for n, m in task.named_modules() if n]
    try:
        # With gradients, as in training: objectives record no activations without.
        run()
    finally:
        for handle in handles:
            handle.remove()
    if first:
        return BitlensError(
            f"{where}: the first layer with a non-finite output is {first[0]!r}; lower lr, or check the input"
        )
    return BitlensError(
        f"{where}: every layer's output is finite, so the loss itself overflowed; lower weight"
    )
