"""Make any torch net binary, and see what became 1-bit and what did not."""

import torch
from torch import nn

import bitlens


class Tagger(nn.Module):
    """A net with an embedding, attention and convolutions, written with no thought of bits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 32, 3, padding=1)
        self.body = nn.Sequential(
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.mix = nn.MultiheadAttention(64, 4, batch_first=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.body(self.embed(x)).flatten(2).transpose(1, 2)
        return self.head(self.mix(tokens, tokens, tokens)[0].mean(1))


def main() -> "bitlens.Summary":
    net = bitlens.binarize(Tagger(), method="irnet", keep_float=("embed", "head"))
    table = bitlens.summary(net, torch.zeros(1, 3, 16, 16))
    print(table)
    return table


if __name__ == "__main__":
    main()
