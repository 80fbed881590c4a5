"""From a training loop of one's own to a small file that computes with 1-bit arithmetic."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import bitlens
from bitlens.data import load
from bitlens.data.normalize import normalize


def main(steps: int = 150, path: str = "fashion.bits") -> "tuple[float, float]":
    data = load("fashion-mnist-mini")
    x, y = normalize(data.train.images, data.mean, data.std), data.train.labels
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        nn.Sequential(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )
    net = bitlens.binarize(net, method="bireal", keep_float=("0", "3"))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(steps):
        rows = torch.randint(len(x), (128,))
        loss = F.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bitlens.recalibrate(net, [x[:1000]])

    packed = bitlens.pack(net, x[:256], mean=data.mean, std=data.std, labels=data.classes)
    print(packed.table)
    print(packed.verification)
    packed.save(path)

    session = bitlens.load(path)  # needs no torch from here on
    test = data.test.images[:1000]
    scores = session(test.numpy())  # raw bytes, as a camera gives them
    labels = data.test.labels[:1000].numpy()
    packed_accuracy = float((scores.argmax(1) == labels).mean())
    net.eval()
    with torch.no_grad():
        logits = net(normalize(test, data.mean, data.std))
    accuracy = float((logits.argmax(1).numpy() == labels).mean())
    latent = sum(p.numel() for p in net.parameters()) * 4
    print(f"{session.kernel}: {Path(path).stat().st_size:,} of {latent:,} bytes,", end=" ")
    print(f"accuracy {packed_accuracy:.1%} packed, {accuracy:.1%} in torch")
    return packed_accuracy, accuracy


if __name__ == "__main__":
    main()
