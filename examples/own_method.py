"""A binarization method of one's own, in a file outside the package: trained, packed, checked.

On the command line, in this folder: bitlens doctor own_method:METHOD
or bitlens train demo-plain --method own_method:METHOD
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitlens
from bitlens.bits import sign, sign_values, swish
from bitlens.data import load
from bitlens.data.normalize import normalize
from bitlens.methods.contract import ActivationBinarizer, Method, WeightBinarizer, per_filter
from bitlens.models import create


class MedianWeight(WeightBinarizer):
    """alpha_c sgn(W_c - median W_c): half of every filter is -1; the gradient is SignSwish's."""

    def centered(self, weight: Tensor) -> Tensor:
        return weight - per_filter(weight.detach().flatten(1).median(1).values, weight)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        centered = self.centered(weight.detach())
        return sign_values(centered), centered.abs().flatten(1).mean(1)

    def forward(self, weight: Tensor) -> Tensor:
        _, scale = self.decompose(weight)
        return sign(self.centered(weight), swish) * per_filter(scale, weight)


METHOD = Method(
    title="balanced filters with SignSwish gradients",
    paper="none yet",
    weight=lambda latent, progress: MedianWeight(),
    activation=lambda channels, progress: ActivationBinarizer(swish),
    nonlinearity=lambda channels: nn.Hardtanh(),
)


def main(steps: int = 100) -> float:
    data = load("fashion-mnist-mini")
    x, y = normalize(data.train.images, data.mean, data.std), data.train.labels
    net = create("mlp", method="own_method:METHOD", classes=10, channels=1, image_size=28)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for rows in torch.randint(len(x), (steps, 128)):
        loss = F.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    packed = bitlens.pack(net, x[:64], mean=data.mean, std=data.std)
    print(f"loss {loss:.2f}; {packed.verification}")
    return loss.item()


if __name__ == "__main__":
    main()
