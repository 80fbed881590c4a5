"""A selection of accuracies that the methods' authors published, each read at its source by us.

Figures known only second hand are left out, so a method without an entry may well have been published
with one. All are of nets with 1-bit activations and weights of 1 bit or less: top-1 in percent on the test
or validation split, by authors who mostly chose the best epoch on that split. "ResNet-18" on CIFAR-10 is a
different net in every paper (its shortcut is float, binary, or has no convolution).
"""

from __future__ import annotations

from dataclasses import dataclass

CIFAR10, IMAGENET = "cifar10", "imagenet"
README, ABSTRACT = "authors' repository", "paper's abstract"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published accuracy of `method` with `net` on `data`: top-1 in percent, digits as printed."""

    method: str
    data: str
    net: str
    top1: str
    source: str = README


def _figures(data: str, method: str, source: str = README, /, **top1: str) -> list[Published]:
    return [
        Published(method=method, data=data, net=_NETS[net], top1=value, source=source)
        for net, value in top1.items()
    ]


_NETS = {
    "r20": "ResNet-20",
    "r20_bireal": "ResNet-20 (Bi-Real)",
    "r18": "ResNet-18",
    "r34": "ResNet-34",
    "vgg": "VGG-small",
    "r18_two_step": "ResNet-18, two-step",
    "subbit": "ResNet-18, two-step, 0.67 bit a weight",
    "own_block": "ResNet-18, own block",
}

PUBLISHED: tuple[Published, ...] = (
    *_figures(IMAGENET, "bireal", r18="56.4", r34="62.2"),
    *_figures(CIFAR10, "irnet", r20="86.5", r18="91.5", vgg="90.4"),
    *_figures(IMAGENET, "irnet", r18="58.1", r34="62.9"),
    *_figures(CIFAR10, "rbnn", r20="86.5", r20_bireal="87.8", r18="92.2", vgg="91.3"),
    *_figures(IMAGENET, "rbnn", r18="59.9", r34="63.1"),
    *_figures(CIFAR10, "siman", r20="87.4", r18="92.5", vgg="92.5"),
    *_figures(CIFAR10, "recu", r20="87.5", r18="92.8", vgg="92.2"),
    *_figures(IMAGENET, "recu", r18="60.98", r34="65.10"),
    *_figures(IMAGENET, "reactnet", r18_two_step="65.9"),
    *_figures(IMAGENET, "rbonn", r18_two_step="66.7"),
    *_figures(CIFAR10, "adabin", r20="88.1", vgg="92.3"),
    *_figures(IMAGENET, "adabin", own_block="63.1"),
    *_figures(IMAGENET, "ovsw", ABSTRACT, r18="61.6", r34="65.5"),
    *_figures(CIFAR10, "biper", r20="86.98", r18="93.75", vgg="92.46"),
    *_figures(IMAGENET, "biper", r18="61.40", r34="65.73"),
    *_figures(CIFAR10, "reste", r20="86.75", r20_bireal="87.92", r18="92.63", vgg="92.55"),
    *_figures(IMAGENET, "reste", r18="60.88", r34="65.05"),
    *_figures(IMAGENET, "dybnn", ABSTRACT, r18_two_step="67.4"),
    *_figures(IMAGENET, "subbit", subbit="63.4"),
)


def published(method: str, data: str | None = None) -> tuple[Published, ...]:
    """Figures of a method, those on `data` only where it is given."""
    return tuple(p for p in PUBLISHED if p.method == method and data in (None, p.data))
