"""What the nets learn: an enumerated rule, digits, Fashion-MNIST, CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from bitlens.data import load
from bitlens.data.images import ImageSet
from bitlens.data.normalize import normalize
from bitlens.errors import unknown

RULE_SEED = 12
SPLIT_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A classification task and the set on which information is measured.

    Attributes:
        name: as on the command line.
        train: inputs (n, d) float32 and labels (n,) int64 to learn from.
        test: the same to be judged on.
        probe: inputs and labels of the set that is measured, in a fixed order.
        classes: number of classes.
        population: whether the probe is the whole input space, each input equally likely.
        probe_note: what the probe is, for captions.
    """

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    probe: tuple[Tensor, Tensor]
    classes: int
    population: bool
    probe_note: str

    @property
    def inputs(self) -> int:
        """Number of input features."""
        return self.probe[0].shape[1]


TASKS = {
    "rule": "12 bits, all 4,096 inputs; is a random quadratic form above its median?",
    "digits": "1,797 handwritten digits of 8x8 pixels (scikit-learn)",
    "fashion-mnist": "60,000 + 10,000 grey 28x28 pieces of clothing",
    "fashion-mnist-mini": "10,000 + 2,000 of them; ships inside",
    "cifar10": "50,000 + 10,000 color 32x32 photographs",
}


@cache
def load_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        BitlensError: no such task, or its data cannot be found.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    if name == "rule":
        return _rule()
    return _digits() if name == "digits" else _images(name)


def _rule() -> Task:
    codes = (np.arange(4096)[:, None] >> np.arange(12)) & 1
    x = codes * 2.0 - 1.0
    generator = np.random.default_rng(RULE_SEED)
    form, linear = generator.normal(size=(12, 12)), generator.normal(size=12)
    score = np.einsum("ni,ij,nj->n", x, form, x) + x @ linear
    labels = torch.from_numpy((score > np.median(score)).astype(np.int64))
    return _split(
        "rule", torch.from_numpy(x).float(), labels, population=True, note="all 4,096 inputs"
    )


def _digits() -> Task:
    pixels, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    x = torch.from_numpy(pixels / 8.0 - 1.0).float()
    y = torch.from_numpy(labels.astype(np.int64))
    return _split("digits", x, y, population=False, note="all 1,797 images, trained on or not")


def _split(name: str, x: Tensor, y: Tensor, *, population: bool, note: str) -> Task:
    """Four fifths to learn from, one fifth to be judged on, all of it measured."""
    order = torch.from_numpy(np.random.default_rng(SPLIT_SEED).permutation(len(x)))
    train, test = order[: len(x) * 4 // 5], order[len(x) * 4 // 5 :]
    return Task(
        name=name,
        train=(x[train], y[train]),
        test=(x[test], y[test]),
        probe=(x, y),
        classes=int(y.max()) + 1,
        population=population,
        probe_note=note,
    )


def _images(name: str) -> Task:
    data = load(name)
    parts = []
    for images in (data.train, data.test):
        assert isinstance(images, ImageSet)
        flat = normalize(images.images, data.mean, data.std).flatten(1).contiguous()
        parts.append((flat, images.labels))
    train, test = parts
    return Task(
        name=name,
        train=train,
        test=test,
        probe=train,
        classes=len(data.classes),
        population=False,
        probe_note=f"the {len(train[0]):,} training images",
    )
