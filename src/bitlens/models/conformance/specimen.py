"""What the clauses examine: a net of one layer, binarized with the method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.methods.contract import Method, Progress
from bitlens.models.convert import set_progress
from bitlens.models.layers import BinaryConv2d, BinaryLinear, after_step, before_step, penalty

Kind = Literal["convolution", "linear"]
KINDS: tuple[Kind, ...] = ("convolution", "linear")
TIMES = (0.0, 0.6, 1.0)
"""Points of training progress at which a clause looks."""

STEPS = 30
"""Optimizer steps of a clause that trains: enough for what a method does every so many steps."""


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A method, and the kind of layer it is examined in.

    The convolution is 4 -> 6 channels, 3x3, padded, on images 5x5; the linear layer 8 -> 6. Channel
    counts are even, because a method may pair channels up.
    """

    method: Method
    name: str
    kind: Kind

    def layer(self) -> BinaryConv2d | BinaryLinear:
        """The binary layer alone, in float32, its initial latent weight drawn from N(0, 1)."""
        progress, method = Progress(), self.method
        if self.kind == "convolution":
            convolution = nn.Conv2d(4, 6, 3, padding=1)
            nn.init.normal_(convolution.weight)
            layer: BinaryConv2d | BinaryLinear = BinaryConv2d(
                convolution, method, self.name, progress, method.pad
            )
        else:
            linear = nn.Linear(8, 6)
            nn.init.normal_(linear.weight)
            layer = BinaryLinear(linear, method, self.name, progress)
        progress.attach(layer)
        return layer

    def net(self, seed: int = 0, *, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The binary layer and nn.Flatten, in training mode at t = 1.

        Latent weights lie on both sides of every clip; the method's own parameters are moved from
        where they start. Torch's random state is left alone.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = nn.Sequential(self.layer(), nn.Flatten()).to(dtype)
            net.eval()
            with torch.no_grad():
                net(self.images(2, dtype=dtype))  # gives lazy parameters their shape
            for name, parameter in binary(net).named_parameters():
                if name != "weight":
                    parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
        return net.train()

    def images(
        self, count: int = 5, *, seed: int = 1, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Inputs of the binary layer, drawn from N(0, 1)."""
        shape = (count, 4, 5, 5) if self.kind == "convolution" else (count, 8)
        source = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=source, dtype=torch.float64).to(dtype)


def binary(net: nn.Module) -> BinaryConv2d | BinaryLinear:
    """The binary layer of a specimen's net."""
    layer = net.get_submodule("0")
    assert isinstance(layer, BinaryConv2d | BinaryLinear)
    return layer


def gradients(net: nn.Module, x: Tensor) -> dict[str, Tensor | None]:
    """Gradient of a loss in the input and in every parameter, by name; None where there is no path."""
    x = x.clone().requires_grad_()
    leaves = {"(input)": x, **dict(net.named_parameters())}
    found = torch.autograd.grad(net(x).square().sum(), list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, found, strict=True))


def take_steps(
    specimen: Specimen, net: nn.Module, optimizer: torch.optim.Optimizer, steps: range
) -> list[float]:
    """Optimizer steps number `steps` of `STEPS`, with all of the method's hooks; their losses."""
    losses = []
    for step in steps:
        set_progress(net, step / (STEPS - 1))
        images, labels = specimen.images(9, seed=100 + step), torch.arange(9) % 3
        losses.append(take_step(net, optimizer, images, labels))
    return losses


def take_step(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> float:
    """One optimizer step on the cross-entropy of `labels`, with all of the method's hooks; its loss."""
    loss = F.cross_entropy(net(images), labels)
    if (added := penalty(net)) is not None:
        loss = loss + added
    optimizer.zero_grad()
    loss.backward()
    before_step(net)
    optimizer.step()
    after_step(net)
    return float(loss.detach())


def place(mask: Tensor) -> str:
    """Where the first true entry of `mask` is, for a message."""
    index = tuple(mask.nonzero()[0].tolist()) if mask.dim() else ()
    return f"entry {index} of shape {tuple(mask.shape)}"


def require(condition: bool, message: str) -> None:
    """Raise a BitlensError with `message` unless `condition` holds."""
    if not condition:
        raise BitlensError(message)


def require_equal(found: Tensor, expected: Tensor, message: str) -> None:
    """Raise unless the two tensors are equal bit for bit; `message` says what they are."""
    require(
        found.shape == expected.shape,
        f"{message}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}",
    )
    differs = ~((found == expected) | (found.isnan() & expected.isnan()))
    if differs.any():
        index = tuple(differs.nonzero()[0].tolist())
        raise BitlensError(
            f"{message}: {found[index].item()!r} instead of {expected[index].item()!r} at "
            f"{place(differs)}"
        )


def require_close(found: Tensor, expected: Tensor, message: str) -> None:
    """Raise unless the two tensors are equal up to rounding in float64."""
    require(
        found.shape == expected.shape,
        f"{message}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}",
    )
    near = torch.isclose(found, expected, rtol=1e-7, atol=1e-9)
    if not near.all():
        index = tuple((~near).nonzero()[0].tolist())
        raise BitlensError(
            f"{message}: {found[index].item():.6g} instead of {expected[index].item():.6g} at "
            f"{place(~near)}"
        )
