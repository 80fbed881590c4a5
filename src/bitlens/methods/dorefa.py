"""DoReFa-Net at one bit: one scale per layer, activations in {0, 1}.

Forward: mean|W| over the whole layer times sgn(W); activations round(clip(x, 0, 1)), which is the
sign of x - 1/2 mapped from {-1, +1} to {0, 1}. A zero-padded position therefore means sign -1.
Backward: straight through on W, slope one inside [0, 1] on activations.

Source: Zhou, Wu, Ni, Zhou, Wen, Zou, "DoReFa-Net", arXiv 1606.06160.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitlens.bits import sign_values, straight_through, unit_step
from bitlens.methods.contract import ActivationBinarizer, Method, WeightBinarizer, scaled_sign


class LayerScaleWeight(WeightBinarizer):
    """E|W| sgn(W) with one magnitude for the layer; the gradient passes unchanged."""

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Signs and the layer's mean magnitude, repeated for every filter."""
        latent = weight.detach()
        return sign_values(latent), latent.abs().mean().expand(weight.shape[0]).contiguous()

    def forward(self, weight: Tensor) -> Tensor:
        """Scaled signs, straight-through."""
        signs, scale = self.decompose(weight)
        return scaled_sign(weight, signs, scale, straight_through)


class UnitInterval(ActivationBinarizer):
    """sgn(x - 1/2), used as 0 / 1 by the layer behind it."""

    levels = (0.0, 1.0)

    def __init__(self) -> None:
        super().__init__(unit_step)

    def forward(self, x: Tensor) -> Tensor:
        """Signs of x - 1/2."""
        return self.sign(x - 0.5)


DOREFA = Method(
    title="DoReFa-Net, 1-bit weights and {0,1} activations",
    paper="Zhou et al., arXiv 1606.06160",
    weight=lambda latent, progress: LayerScaleWeight(),
    activation=lambda channels, progress: UnitInterval(),
    nonlinearity=lambda channels: nn.Identity(),
    pad=-1,
)
