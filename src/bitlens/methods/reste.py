"""ReSTE: a surrogate that turns from the straight-through clip into a power function.

Forward: mean|W| sgn(W) with one magnitude for the layer; activations sgn(x). Backward: RESTE(o) for
both, |x|^((1-o)/o) / o where |x| < 1.5 and the secant's slope 0.1^(1/o) / 0.1 where |x| < 0.1. The
gradient of W is multiplied by the magnitude and flows through it as well (it is not detached).
Schedule: o = 1 + 2 (1 - cos(pi t / 2)), from 1 (a clip at 1.5) to 3.

The paper's CIFAR blocks end in a ReLU. Here the next layer takes signs of what the block returns, and
signs of a ReLU are all +1, so the non-linearity is Hardtanh. At the bounds 0.1 and 1.5 themselves the
slopes of the outer side are taken; the released code takes those of the inner side.

Source: Wu, Zheng, Liu, Zheng, "Estimator Meets Equilibrium Perspective: A Rectified Straight Through
Estimator for Binary Neural Networks Training", ICCV 2023, and its released code.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from bitlens.bits import rectified, sign
from bitlens.methods.contract import ActivationBinarizer, Method, Progress
from bitlens.methods.dorefa import LayerScaleWeight


def exponent(progress: float) -> float:
    """The o of RESTE at training progress in [0, 1]: 1 at the start, 3 at the end."""
    return 1 + 2 * (1 - math.cos(math.pi * progress / 2))


class Rectified:
    """RESTE at the net's current progress."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, grad: Tensor, x: Tensor) -> Tensor:
        """Gradient of the sign's input."""
        return rectified(grad, x, exponent(self.progress.value))


class LayerMagnitudeWeight(LayerScaleWeight):
    """mean|W| sgn(W) over the whole layer as in DoReFa-Net, both factors differentiated."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.surrogate = Rectified(progress)

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, differentiable by RESTE and through the magnitude."""
        return sign(weight, self.surrogate) * weight.abs().mean()


RESTE = Method(
    title="ReSTE: rectified straight-through estimator, a power function",
    paper="Wu et al., ICCV 2023",
    weight=lambda latent, progress: LayerMagnitudeWeight(progress),
    activation=lambda channels, progress: ActivationBinarizer(Rectified(progress)),
    nonlinearity=lambda channels: nn.Hardtanh(),
)
