"""RBONN: a learned scale whose reconstruction error enters the gradient, and a look one step back.

Forward: 0.02 |s_c| sgn(W'_c), s learned per output channel from N(0, 1). While training W' is W moved
against the gradient G of the step before, W' = W - u_c G on some filters and W elsewhere, u learned from
0.2 at a tenth of the learning rate. In evaluation, as in the released code, and in the last step (t = 1)
W' = W: what is deployed is the signs of the latent weight.
Backward, with g the gradient of the binary weight B = 0.02 |s| sgn(W'):
    gradient of W':   |s| g + 1e-4 (W' - B)
    gradient of |s|:  sum(g W') - 1e-4 sum((W' - B) 0.02 sgn(W'))
The filters that look back are the two fifths with the smallest |s|. Activations and the block's
non-linearity are ReActNet's, and so is the plan (the paper trains the second of two steps; in the first,
of real weights, s and u rest).

The released code compares the output of an argsort with a bound as if it were ranks. The number of
filters is the same, but which of them look back is then nearly unrelated to |s|. `RBONN` ranks;
`RBONN_RELEASED` repeats the code.

Source: Xu, Li, Wang, Ma, Zhang, Zhang, Zhang, Cao, Lin, "Recurrent Bilinear Optimization for Binary
Neural Networks", ECCV 2022, and its released code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitlens.bits import sign_values
from bitlens.methods.contract import TWO_STEP, Method, Progress, WeightBinarizer, per_filter
from bitlens.methods.reactnet import RPReLU, RSign

SIZE = 0.02
"""Magnitude of a binary weight at |s| = 1."""
RECONSTRUCTION = 1e-4
"""Weight of |W - B|^2 / 2 in the gradient."""
THRESHOLD = 0.6
"""Share of the filters that do not look back."""


class _Bilinear(torch.autograd.Function):
    """SIZE * magnitude * sgn(weight) with RBONN's gradients."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, magnitude: Tensor) -> Tensor:
        return sign_values(weight) * per_filter(SIZE * magnitude, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        weight, magnitude = ctx.saved_tensors
        (grad,) = grads
        sized = SIZE * sign_values(weight)
        error = RECONSTRUCTION * (weight - sized * per_filter(magnitude, weight))
        to_weight = grad * per_filter(magnitude, weight) + error
        to_magnitude = (grad * weight - error * sized).flatten(1).sum(1)
        return to_weight, to_magnitude


def looks_back(magnitude: Tensor, *, released: bool) -> Tensor:
    """Which filters use the previous gradient, 0 or 1 per filter (o,), in the dtype of `magnitude`.

    Args:
        magnitude: |s| per filter.
        released: compare the argsort itself, as the released code does, instead of ranks.
    """
    order = magnitude.detach().argsort(stable=True)
    places = order if released else order.argsort()
    return (places < int(len(magnitude) * (1 - THRESHOLD))).to(magnitude.dtype)


class BilinearWeight(WeightBinarizer):
    """0.02 |s_c| sgn(W'_c) with W' = W - u_c G on selected filters while training."""

    def __init__(self, latent: Tensor, progress: Progress, *, released: bool) -> None:
        super().__init__()
        self.progress, self.released = progress, released
        filters = latent.shape[0]
        self.s = nn.Parameter(torch.randn(filters))
        self.u = nn.Parameter(torch.full((filters,), 0.2))
        self.register_buffer("previous_gradient", torch.zeros_like(latent))

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of the latent weight and 0.02 |s|."""
        return sign_values(weight.detach()), SIZE * self.s.detach().abs()

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs of W' (of W in evaluation and at t = 1), with RBONN's gradients."""
        magnitude = self.s.abs()
        if self.training:
            weight = self._recurrent(weight, magnitude)
        return _Bilinear.apply(weight, magnitude)  # pyrefly: ignore[bad-return]

    def relaxed(self, weight: Tensor) -> Tensor:
        """The latent weight; s and u have a path to the loss, and no effect."""
        return weight + per_filter(0 * (self.s + self.u), weight)

    def _recurrent(self, weight: Tensor, magnitude: Tensor) -> Tensor:
        selected = looks_back(magnitude, released=self.released)
        if self.progress.value == 1:
            selected = torch.zeros_like(selected)
        step = per_filter(self.u * selected, weight)
        return weight - step * self.get_buffer("previous_gradient")

    def before_step(self, weight: nn.Parameter) -> None:
        """Keep the latent weight's gradient for the next step's forward pass."""
        if weight.grad is not None:
            self.get_buffer("previous_gradient").copy_(weight.grad)

    def learning_rates(self) -> dict[str, float]:
        """u learns at a tenth of the rate."""
        return {"u": 0.1}


def rbonn(*, released: bool = False) -> Method:
    """RBONN; `released` selects filters as the released code does."""
    return Method(
        title="RBONN: recurrent bilinear optimization"
        + (", filters selected as in the released code" if released else ""),
        paper="Xu et al., ECCV 2022",
        weight=lambda latent, progress: BilinearWeight(latent, progress, released=released),
        activation=lambda channels, progress: RSign(channels),
        nonlinearity=RPReLU,
        plan=TWO_STEP,
    )


RBONN = rbonn()
RBONN_RELEASED = rbonn(released=True)
