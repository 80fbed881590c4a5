"""Many small nets of one kind as one net: parameters (nets, ...), one batched product a layer.

A net of a few dozen units costs less to compute than to launch. Stacked along a leading axis, ten nets
train in about the time of one, each from its own seed, order of samples and loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.bits import Surrogate, hard_tanh, polynomial, sign, sign_values, swish
from bitlens.studies.information_plane.kinds import Kind
from bitlens.training.streams import seed_for

SURROGATES: dict[str, Surrogate] = {"ste": hard_tanh, "approx": polynomial, "swish": swish}
EPSILON = 1e-5


@dataclass(frozen=True)
class Layer:
    """What one hidden layer gave: input of the non-linearity and its output, same shape."""

    latent: Tensor
    output: Tensor


class StackedNet(nn.Module):
    """`len(seeds)` multi-layer perceptrons of one kind and shape.

    Args:
        kind: weights, activations, norm.
        widths: inputs, hidden units of each layer, classes.
        seeds: one per net; a net starts the same whatever stands beside it in the stack.
    """

    def __init__(self, kind: Kind, widths: Sequence[int], seeds: Sequence[int]) -> None:
        super().__init__()
        self.kind, self.widths, self.nets = kind, tuple(widths), len(seeds)
        pairs = list(pairwise(widths))
        generators = [torch.Generator().manual_seed(seed_for(seed, "init")) for seed in seeds]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.stack([_start(kind, a, b, g) for g in generators])) for a, b in pairs
        )
        self.shifts = nn.ParameterList(
            nn.Parameter(torch.stack([_start_shift(kind, a, b, g) for g in generators]))
            for a, b in pairs
        )
        gains = pairs if kind.norm else []
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(self.nets, 1, b)) for _, b in gains)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Layer]]:
        """Train-mode pass: (nets, batch, inputs) -> logits (nets, batch, classes) and hidden layers.

        Norms use each net's own batch.
        """
        layers: list[Layer] = []
        for depth in range(len(self.weights)):
            latent = self._latent(x, depth, self._weight(depth))
            if depth == len(self.weights) - 1:
                return latent, layers
            x = self._activate(latent)
            layers.append(Layer(latent, x))
        raise AssertionError("a net has at least one layer")

    @torch.no_grad()
    def probe(
        self, net: int, probe: Tensor, also: Sequence[Tensor] = ()
    ) -> tuple[list[Layer], list[Tensor]]:
        """Evaluation of one net whose norms are settled on `probe`, layer by layer.

        Args:
            net: its place in the stack.
            probe: (n, inputs); every norm uses the exact mean and variance over these.
            also: further inputs (m, inputs), evaluated with the norms of `probe`.

        Returns:
            The hidden layers on `probe`, and logits of `probe` and of each of `also`.
        """
        flows, layers = [probe, *also], []
        for depth in range(len(self.weights)):
            weight = self._weight(depth)[net]
            sums = [flow @ weight for flow in flows]
            gain, shift = torch.ones(()), self.shifts[depth][net]
            if self.kind.norm:
                variance, mean = torch.var_mean(sums[0], 0, correction=0, keepdim=True)
                gain = self.gains[depth][net] * (variance + EPSILON).rsqrt()
                shift = shift - mean * gain
            flows = [torch.addcmul(shift, total, gain) for total in sums]
            if depth < len(self.weights) - 1:
                latent, flows = flows[0], [self._activate(flow) for flow in flows]
                layers.append(Layer(latent, flows[0]))
        return layers, flows

    @torch.no_grad()
    def clamp_latent(self) -> None:
        """Keep the latent weights of binary layers in [-1, 1], where their gradient is not zero."""
        if self.kind.weights == "binary":
            for weight in self.weights:
                weight.clamp_(-1.0, 1.0)

    def _weight(self, depth: int) -> Tensor:
        weight = self.weights[depth]
        if self.kind.weights == "float":
            return weight
        signs = sign(weight) if torch.is_grad_enabled() else sign_values(weight)
        return signs / math.sqrt(self.widths[depth])

    def _latent(self, x: Tensor, depth: int, weight: Tensor) -> Tensor:
        shift = self.shifts[depth]
        if not self.kind.norm:
            return torch.baddbmm(shift, x, weight)
        # All units of all nets as the channels of one batch norm, whose kernel takes a twentieth of
        # the time of a variance over the middle axis.
        sums = torch.bmm(x, weight).transpose(0, 1)
        normed = F.batch_norm(
            sums.flatten(1),
            None,
            None,
            self.gains[depth].flatten(),
            shift.flatten(),
            training=True,
            eps=EPSILON,
        )
        return normed.view(sums.shape).transpose(0, 1)

    def _activate(self, latent: Tensor) -> Tensor:
        if self.kind.activation == "sign":
            if not torch.is_grad_enabled():
                return sign_values(latent)
            return sign(latent, SURROGATES[self.kind.surrogate])
        return latent.tanh() if self.kind.activation == "tanh" else latent.relu()


def _start(kind: Kind, inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    """Glorot-uniform latent weights for signs; float weights as `Kind.spread` says."""
    weight = torch.empty(inputs, outputs)
    deviation = 1 / math.sqrt(inputs)
    if kind.spread:
        return nn.init.trunc_normal_(
            weight, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator
        )
    bound = math.sqrt(6 / (inputs + outputs)) if kind.weights == "binary" else deviation
    return weight.uniform_(-bound, bound, generator=generator)


def _start_shift(kind: Kind, inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    """Zero, but where a float layer without norm starts as it usually does, like its weights."""
    shift = torch.zeros(1, outputs)
    if kind.norm or kind.spread or kind.weights == "binary":
        return shift
    bound = 1 / math.sqrt(inputs)
    return shift.uniform_(-bound, bound, generator=generator)
