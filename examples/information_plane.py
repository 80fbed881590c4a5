"""The information plane of a training loop of one's own: two lines, any torch net."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

import bitlens
from bitlens.data import load
from bitlens.data.normalize import normalize
from bitlens.information.plane import InformationPlane


def main(steps: int = 300, path: str = "plane.jsonl") -> InformationPlane:
    data = load("fashion-mnist-mini")
    x, y = normalize(data.train.images, data.mean, data.std), data.train.labels
    torch.manual_seed(0)
    widths = (784, 128, 12, 10, 8)
    units = [
        nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.Hardtanh())
        for a, b in pairwise(widths)
    ]
    net = nn.Sequential(nn.Flatten(), *units, nn.Linear(8, 10))
    net = bitlens.binarize(net, method="bnn", keep_float=("1",))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)

    # A layer is named after the linear layer it feeds. 12, 10 and 8 units can be measured; the 128 in
    # front of them cannot, and are flagged as saturated.
    plane = InformationPlane(net, (x, y), steps=steps)
    with plane.watch(optimizer):
        for _ in range(steps):
            rows = torch.randint(len(x), (128,))
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    for row in plane.rows[:: len(plane.rows) // 6]:
        print(f"step {row['step']:4d}")
        for name, reading in row["layers"].items():
            low, high = reading["information_low"], reading["information_high"]
            print(
                f"  {name:11s} I(X;T) {reading['entropy']:5.2f}  I(T;Y) {reading['information']:.2f} "
                f"bits on these {reading['samples']}, [{low:.2f}, {high:.2f}] in general: "
                f"{reading['flag']}"
            )
    plane.save(path)
    return plane


if __name__ == "__main__":
    main()
