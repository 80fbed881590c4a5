"""Batch-norm statistics of the moment, in one forward pass.

Running averages lag behind the weights: after the first steps they still describe the net before
training, and codes taken with them would say more about the average than about the net. Here every
norm takes the mean and variance of its input over one batch and normalises with just these, so each
norm already sees the earlier ones as they will be when the codes are taken.
(`bitlens.recalibrate` does the same for any number of batches, at half a forward pass a norm.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

VALUES = 2**14
"""Values of a channel that settle its statistics: where they are independent, its mean is then known to
1 % of its spread."""
FEWEST = 128
"""Samples taken in any case, as many as in a usual batch of training."""


def settle(net: nn.Module, batch: Tensor, norms: Sequence[_BatchNorm] | None = None) -> int:
    """Give batch norms of `net` the mean and variance of their input over `batch`.

    They are put into fresh buffers, so the previous ones are untouched; to be called inside
    `undisturbed`, which puts those back. A norm that runs several times in a forward pass keeps what
    it saw last.

    Args:
        net: in evaluation mode.
        batch: inputs (n, ...), n >= 2.
        norms: the ones that are settled, see `moving_norms`; by default all that keep statistics.

    Returns:
        The number of norms that were settled.
    """
    norms = tracked_norms(net) if norms is None else norms
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    values: dict[nn.Module, int] = {}

    def count(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values[norm] = inputs[0].numel() // inputs[0].shape[1]

    handles = [norm.register_forward_pre_hook(count) for norm in norms]
    try:
        for norm in norms:
            for name in ("running_mean", "running_var"):
                norm._buffers[name] = norm.get_buffer(name).clone()
            # The norm's own kernel for training: it normalises with the statistics that it takes.
            norm.training, norm.momentum = True, 1.0
        net(batch)
    finally:
        for handle, norm, momentum in zip(handles, norms, momenta, strict=True):
            handle.remove()
            norm.training, norm.momentum = False, momentum
    for norm, n in values.items():
        # Training divides by n and keeps n - 1; the codes must be taken with what was used here.
        norm.get_buffer("running_var").mul_((n - 1) / n)
    return len(norms)


def tracked_norms(net: nn.Module) -> list[_BatchNorm]:
    """The batch norms of `net` that keep running statistics."""
    return [m for m in net.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def moving_norms(net: nn.Module) -> list[_BatchNorm]:
    """The norms of `net` whose statistics training moves, by the modes of the moment.

    A norm in evaluation mode within a net in training mode was frozen by its user: training computes
    with its running statistics as they are, and so must the codes. In a net that is wholly in
    evaluation mode, as between two epochs, no norm counts as frozen.
    """
    return [norm for norm in tracked_norms(net) if norm.training or not net.training]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large a net's tensors are.

    Attributes:
        activations: of the layer with most of them, one sample.
        positions: values of a channel that one sample gives to the norm that gets fewest; None
            without norms.
    """

    activations: int
    positions: int | None

    @classmethod
    def of(cls, net: nn.Module, batch: Tensor) -> Sizes:
        """The sizes found in one forward pass of `batch`."""
        norms, outputs = [0], [batch.numel()]

        def note_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            norms.append(inputs[0].numel() // inputs[0].shape[1])

        def note_output(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs.append(output.numel() if isinstance(output, Tensor) else 0)

        handles = [norm.register_forward_pre_hook(note_norm) for norm in tracked_norms(net)]
        leaves = [module for module in net.modules() if not any(module.children())]
        handles += [leaf.register_forward_hook(note_output) for leaf in leaves]
        try:
            net(batch)
        finally:
            for handle in handles:
                handle.remove()
        n = len(batch)
        return cls(
            activations=max(outputs) // n, positions=min(norms[1:]) // n if norms[1:] else None
        )

    def to_settle(self, available: int, room: int) -> int:
        """How many samples make up the batch for `settle`, 0 for a net without norms.

        Enough that every channel of every norm sees `VALUES` values, as far as `available` samples go
        and the largest layer's activations stay below `room`: 5,000 samples of a small perceptron,
        256 CIFAR images for a ResNet-20 on a CPU, where much larger tensors cost several times more
        each.
        """
        if self.positions is None:
            return 0
        wanted = min(-(-VALUES // self.positions), room // self.activations)
        return min(available, max(FEWEST, wanted))
