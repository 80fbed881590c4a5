"""CMIM in a training loop of one's own: three lines, any torch net."""

import torch
import torch.nn.functional as F
from torch import nn

import bitlens
from bitlens.data import load
from bitlens.data.augment import AUGMENTATIONS
from bitlens.data.normalize import normalize


def main(steps: int = 100, weight: float = 0.03) -> float:
    data = load("fashion-mnist-mini")
    source = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Hardtanh()
        ),
        nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.Hardtanh()),
        nn.Sequential(nn.Conv2d(32, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.Hardtanh()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )

    net = bitlens.binarize(net, method="reactnet", keep_float=("0", "3"))
    cmim = bitlens.CMIM(net, preset="tuned")
    optimizer = torch.optim.Adam([*net.parameters(), *cmim.parameters()], lr=2e-3)

    for step in range(steps):
        bitlens.set_progress(net, step / max(steps - 1, 1))
        rows = torch.randint(len(data.train), (128,), generator=source)
        images = AUGMENTATIONS["flip-crop"](data.train.images[rows], source)
        x, y = normalize(images, data.mean, data.std), data.train.labels[rows]
        loss = F.cross_entropy(net(x), y) + weight * (c := cmim(labels=y)).loss
        optimizer.zero_grad()
        loss.backward()
        bitlens.before_step(net)
        optimizer.step()
        bitlens.after_step(net)
        if step % 20 == 0:
            print(
                f"step {step:3d}  loss {loss:.3f}  MI bound {c.bound:.2f} of {c.ceiling:.2f} nats"
            )

    bitlens.set_progress(net, 1.0)
    net.eval()
    with torch.no_grad():
        logits = net(normalize(data.test.images, data.mean, data.std))
    accuracy = (logits.argmax(1) == data.test.labels).float().mean().item()
    print(bitlens.summary(net, x))
    print(f"test accuracy {100 * accuracy:.1f} %")
    return accuracy


if __name__ == "__main__":
    main()
