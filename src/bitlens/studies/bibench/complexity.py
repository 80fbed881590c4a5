"""Size and operations of a net, in the units of the complexity track."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bitlens.models.layers import binary_layers
from bitlens.models.operations import operations
from bitlens.models.summary import summary


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """What a net holds and does for one image.

    Attributes:
        parameters: numbers that ship: what only helps to train is left out.
        binary: those of them that ship as one bit.
        flops: multiply-accumulates in floats.
        bops: 1-bit multiply-accumulates.
    """

    parameters: int
    binary: int
    flops: int
    bops: int

    @property
    def bits(self) -> int:
        """One bit a binary weight, 32 for any other number."""
        return 32 * (self.parameters - self.binary) + self.binary

    @property
    def ops(self) -> float:
        """OPs = FLOPs + BOPs / 64."""
        return self.flops + self.bops / 64


def measure_complexity(net: nn.Module, example: Tensor) -> Complexity:
    """Count a net's parameters, and the operations of one image of `example` (n, c, h, w)."""
    weights = {id(layer.weight): layer.weight.numel() for layer in binary_layers(net).values()}
    done = operations(net, example)
    return Complexity(
        parameters=summary(net).shipped_parameters,
        binary=sum(weights.values()),
        flops=done.flops,
        bops=done.bops,
    )
