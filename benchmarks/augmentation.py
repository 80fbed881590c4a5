"""Time of one batch of augmentation, against kornia in the same run.

    python benchmarks/augmentation.py [--batch 128] [--size 32] [--threads 1]

kornia works on floats, so its line is given with and without the conversion from uint8. Each figure
is the median of the repeats; the order of the candidates alternates.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import kornia.augmentation as kornia
import torch

from bitlens.data.augment import AUGMENTATIONS, PAD


def candidates(images: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """What is timed, by name; the ratios are against `flip-crop`."""
    generator = torch.Generator().manual_seed(0)
    size = images.shape[-1]
    chain = kornia.AugmentationSequential(
        kornia.RandomCrop((size, size), padding=PAD),
        kornia.RandomHorizontalFlip(p=0.5),
    )
    sliced = kornia.AugmentationSequential(
        kornia.RandomCrop((size, size), padding=PAD, cropping_mode="slice"),
        kornia.RandomHorizontalFlip(p=0.5),
    )
    resized = kornia.AugmentationSequential(
        kornia.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        kornia.RandomHorizontalFlip(p=0.5),
    )
    floats = images.float() / 255
    ours = {
        name: lambda augment=augment: augment(images, generator)
        for name, augment in AUGMENTATIONS.items()
        if name != "none"
    }
    return ours | {
        "kornia crop+flip": lambda: chain(floats),
        "kornia crop+flip, slices": lambda: sliced(floats),
        "kornia crop+flip, from uint8": lambda: chain(images.float() / 255),
        "kornia resized crop+flip": lambda: resized(floats),
    }


def medians(calls: dict[str, Callable[[], torch.Tensor]], repeats: int) -> dict[str, float]:
    """Median milliseconds per call."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 3):
        names = list(calls) if repeat % 2 else list(calls)[::-1]
        for name in names:
            begin = time.perf_counter()
            calls[name]()
            taken[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(values[3:]) for name, values in taken.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    shape = (given.batch, 3, given.size, given.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    found = medians(candidates(images), given.repeats)
    print(f"{'x'.join(map(str, shape))} uint8, {given.threads} threads, torch {torch.__version__}")
    for name, value in found.items():
        print(f"{name:30s} {value:8.3f} ms  {value / found['flip-crop']:7.1f} x flip-crop")


if __name__ == "__main__":
    main()
