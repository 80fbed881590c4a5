"""What a binarization method must supply, and the one number it may know about training.

A method builds two small modules per layer. Its weight binarizer turns the latent weight into signs
and one scale per output channel; its activation binarizer turns the layer's input into signs. It sees
neither the layer's type nor the epoch: training progress is a single number t in [0, 1]. What a paper
does to weights or gradients around an optimizer step is two hooks of the weight binarizer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitlens.bits import Surrogate, sign


class Progress:
    """Training progress t in [0, 1], one object per net, shared by all its binarizers.

    A plain number rather than a tensor: a schedule that read a tensor would stop the device once per
    layer and step. `attach` ties it to a buffer of the net, so it is saved and restored with it.
    """

    BUFFER = "bitlens_progress"
    HOLDER = "_bitlens_progress"

    def __init__(self) -> None:
        self.value = 1.0

    def attach(self, net: nn.Module) -> None:
        """Save this progress in `net`'s state under `BUFFER`."""
        device = next(net.parameters()).device
        net.register_buffer(self.BUFFER, torch.ones((), device=device))
        net.__dict__[self.HOLDER] = self
        net.register_load_state_dict_post_hook(_restore_progress)

    def set(self, net: nn.Module, t: float) -> None:
        """Move to progress `t`; outside [0, 1] is an error of the caller."""
        if not 0.0 <= t <= 1.0:
            raise ValueError(f"progress t={t} lies outside [0, 1]")
        self.value = float(t)
        net.get_buffer(self.BUFFER).fill_(t)


def _restore_progress(net: nn.Module, incompatible_keys: Any) -> None:
    net.__dict__[Progress.HOLDER].value = float(net.get_buffer(Progress.BUFFER))


class Sign(nn.Module):
    """The point where a real activation becomes a code: input a_F, output a_B in {-1, +1}.

    Observers (CMIM, the information plane, code statistics) hook exactly this module.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate

    def forward(self, x: Tensor) -> Tensor:
        """Binarize `x`, any shape."""
        return sign(x, self.surrogate)


class TrainingOnly(nn.Module):
    """Part of a net that evaluation does not compute: it trains, and never ships."""


class ActivationBinarizer(nn.Module):
    """Real activations (n, c, ...) -> signs of the same shape, through one `Sign`.

    In evaluation, and at t = 1, the result is exactly -1 or +1. What a paper adds to the signs while it
    trains (FDA-BNN's noise) must have faded by then.
    """

    levels: tuple[float, float] = (-1.0, 1.0)
    """The two values the convolution sees for sign -1 and +1 (DoReFa computes with 0 and 1)."""

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Learned (gain, bias), each of one element: the convolution sees gain * sign + bias.

        None, the default, for methods whose two values are the fixed `levels`. A position padded with
        sign-domain value 0 is worth the bias, so the bias adds the same number everywhere.
        """
        return None

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.sign = Sign(surrogate)

    def forward(self, x: Tensor) -> Tensor:
        """Signs of `x`."""
        return self.sign(x)


class WeightBinarizer(nn.Module):
    """Latent weight (o, ...) -> binary weight, with the method's own gradient.

    Two views of the same numbers: `forward` is what training differentiates, `decompose` (with `offset`)
    is what evaluation and packing use. `forward(w) == signs * scale + offset` entry by entry, at every t
    in evaluation mode and at t = 1 in training mode.

    A scale may be negative: a learned one is free to be, and packing is exact for it.
    """

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs in {-1, +1}, shaped as `weight`, and the scale (o,). No gradient."""
        raise NotImplementedError

    def offset(self, weight: Tensor) -> Tensor | None:
        """A number per output channel (o,) added to every binary weight of it; None for none.

        No gradient. The two values of a filter are then offset - scale and offset + scale (AdaBin).
        """
        return None

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled binary weight, shaped as `weight`, differentiable in the latent weight."""
        raise NotImplementedError

    def relaxed(self, weight: Tensor) -> Tensor:
        """The real weight of a training stage whose weights are not 1-bit yet, shaped as `weight`."""
        return weight

    def penalty(self, weight: Tensor) -> Tensor | None:
        """A term the method adds to the loss for this layer, of one element; None for none."""
        return None

    def before_step(self, weight: nn.Parameter) -> None:
        """Change gradients between the backward pass and the optimizer step, under `torch.no_grad`."""

    def after_step(self, weight: nn.Parameter) -> None:
        """Move weights, parameters or buffers after the optimizer step, under `torch.no_grad`."""

    def learning_rates(self) -> dict[str, float]:
        """Own parameters, by name, whose learning rate is a multiple of the recipe's."""
        return {}

    def decaying(self) -> tuple[str, ...]:
        """Own parameters, by name, that decay like latent weights; the others do not decay."""
        return ()


def per_filter(scale: Tensor, weight: Tensor) -> Tensor:
    """View a scale (o,) so that it broadcasts over a weight (o, ...)."""
    return scale.view(-1, *([1] * (weight.dim() - 1)))


class _ScaledSign(torch.autograd.Function):
    """scale * signs forward; the gradient skips the scale and meets the surrogate at the latent."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, signs: Tensor, scale: Tensor, surrogate: Surrogate) -> Tensor:
        return signs * per_filter(scale, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        weight, _, _, ctx.surrogate = inputs
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return ctx.surrogate(grads[0], weight), None, None, None


def scaled_sign(weight: Tensor, signs: Tensor, scale: Tensor, surrogate: Surrogate) -> Tensor:
    """`signs * scale` whose gradient reaches `weight` through `surrogate`, not times the scale.

    This is what the clamp trick of the released Bi-Real and ReActNet codes computes; multiplying
    the gradient by the scale would be a different method under plain SGD.
    """
    return _ScaledSign.apply(weight, signs, scale, surrogate)  # pyrefly: ignore[bad-return]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a training plan: its share of the epochs, and what is 1-bit in it."""

    share: float
    binary_weights: bool = True
    binary_activations: bool = True
    """False replaces the sign by a clip to the method's levels, as in Bi-Real Net's pretraining."""
    weight_decay: float | None = None
    """Overrides the recipe's weight decay where the paper's stages differ; None keeps it."""


ONE_STEP = (Stage(share=1.0),)
"""Train weights and activations binary from the first step."""

TWO_STEP = (
    Stage(share=0.5, binary_weights=False, weight_decay=1e-5),
    Stage(share=0.5, weight_decay=0.0),
)
"""ReActNet's plan: first real weights with binary activations, then both binary."""


THREE_STEP = (
    Stage(share=1 / 3, binary_weights=False, binary_activations=False, weight_decay=1e-5),
    Stage(share=1 / 3, binary_weights=False, weight_decay=1e-5),
    Stage(share=1 / 3, weight_decay=0.0),
)
"""Real-to-Binary's order: all real, then binary activations, then both."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A published binarization method as a composition of parts.

    Attributes:
        weight: builds the weight binarizer of one layer from its initial latent weight (o, ...). A
            BitlensError that says why is how a method refuses a layer it cannot serve.
        activation: builds the activation binarizer for `channels` input channels.
        nonlinearity: the block's non-linearity for `channels`, after norm and shortcut.
        output: builds, from the initial latent weight, a module that is applied to the layer's scaled
            output, (n, o, h, w) or (..., o), before its bias; None for none.
        pad: what a padded position of a convolution contributes: 0, +1 or -1.
        deploy: "static" when every sign folds into one threshold a channel, "runtime" when it does not:
            the image or the place in it decides as well.
        why_runtime: what has to be computed while the net runs, for a method that is "runtime".
        why_ungrouped: why a convolution with groups cannot be served; empty for a method that serves it.
        clamp: bound on the latent weights, applied after every optimizer step; None for no bound.
        latent_decay: weight decay of the latent weights, whatever the recipe's; None for the recipe's.
        plan: the paper's own training stages.
    """

    title: str
    paper: str
    weight: Callable[[Tensor, Progress], WeightBinarizer]
    activation: Callable[[int, Progress], ActivationBinarizer]
    nonlinearity: Callable[[int], nn.Module]
    output: Callable[[Tensor], nn.Module] | None = None
    pad: Literal[0, 1, -1] = 0
    deploy: Literal["static", "runtime"] = "static"
    why_runtime: str = ""
    why_ungrouped: str = ""
    clamp: float | None = None
    latent_decay: float | None = None
    plan: tuple[Stage, ...] = field(default=ONE_STEP)


_OWN = "_bitlens_own_nonlinearity"


def own_nonlinearity(method: Method, channels: int) -> nn.Module:
    """The method's non-linearity for `channels`, marked as a part of the method.

    `binarize` rewrites the layers of a net. What a method puts behind them is no such layer: a linear
    layer or a ReLU in it is there because the method says so, and stays what it is.
    """
    module = method.nonlinearity(channels)
    module.__dict__[_OWN] = True
    return module


def is_own_nonlinearity(module: nn.Module) -> bool:
    """Whether `own_nonlinearity` made it."""
    return module.__dict__.get(_OWN, False)
