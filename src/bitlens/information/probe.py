"""The samples a plane is measured on: the same ones, in the same order, at every point."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bitlens.errors import BitlensError

IGNORED = -100
"""The label that torch's losses leave out by default (ignore_index)."""
FEWEST = 32
"""Samples below which no entropy of a layer can be told from log2 of their number."""

ProbeSource = tuple[Tensor, Tensor] | Tensor | Iterable[Any]
"""Inputs and labels: a pair of tensors, a tensor of inputs (labels apart), a map-style torch Dataset of
pairs, or anything that gives the same batches of pairs each time it is iterated."""


class Probe:
    """Inputs (n, ...) and integer labels (n,), iterated as often as there are points.

    Args:
        source: see `ProbeSource`.
        labels: of a source that is the tensor of inputs alone.

    Attributes:
        samples: number n of samples.
        labels: (n,) int64.
        classes: number of different labels.
        digest: 16 hex digits, 8 of all inputs and 8 of all labels in their order.

    Raises:
        BitlensError: labels missing, not integer, -100, all equal or of another number than the inputs;
            too few samples; a source that can be iterated only once.
    """

    def __init__(self, source: ProbeSource, labels: Tensor | None = None) -> None:
        self._source = _batches_of(source, labels)
        self.digest = ""
        collected = [labels.cpu() for _, labels in self.batches()]
        if not collected:
            raise BitlensError("probe: it holds no samples")
        self.labels = torch.cat(collected).numpy().astype(np.int64)
        self.samples, self.classes = len(self.labels), len(np.unique(self.labels))
        if self.classes < 2:
            raise BitlensError(
                f"probe: all {self.samples} samples have label {self.labels[0]}; nothing can be told "
                "about labels that do not differ"
            )
        if self.samples < max(FEWEST, 2 * self.classes):
            raise BitlensError(
                f"probe: {self.samples} samples of {self.classes} classes say nothing about a layer's "
                f"entropy; give at least {max(FEWEST, 2 * self.classes)}, better thousands"
            )

    def batches(self, size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """All samples in order, (inputs, labels), cut into batches of at most `size`, none empty.

        Raises:
            BitlensError: after the last batch, when inputs, labels or their order are not those of the
                first time.
        """
        digests = [hashlib.blake2b(digest_size=4), hashlib.blake2b(digest_size=4)]
        for batch in self._source:
            inputs, labels = _pair(batch)
            if not len(labels):
                continue
            for digest, part in zip(digests, (inputs, labels.long()), strict=True):
                digest.update(_octets(part))
            yield from zip(
                inputs.split(size or len(inputs)),
                labels.split(size or len(labels)),
                strict=True,
            )
        found = "".join(digest.hexdigest() for digest in digests)
        if self.digest and found != self.digest:
            raise BitlensError(
                "probe: its samples, labels or their order changed between two passes; a plane needs "
                "the same ones at every point (no shuffling, no augmentation, nothing written in place)"
            )
        self.digest = found

    def spread(self, samples: int) -> Tensor:
        """Inputs of `samples` samples evenly spaced over the probe, one tensor.

        A probe may be sorted by class, so its first samples would not do.
        """
        chosen = np.unique(np.linspace(0, self.samples - 1, samples).round().astype(np.int64))
        taken, start = [], 0
        for inputs, _ in self.batches():
            mine = chosen[(chosen >= start) & (chosen < start + len(inputs))] - start
            taken.append(inputs[torch.from_numpy(mine).to(inputs.device)])
            start += len(inputs)
        return torch.cat(taken)


def _batches_of(source: ProbeSource, labels: Tensor | None) -> Iterable[Any]:
    if labels is not None:
        if not isinstance(source, Tensor):
            raise BitlensError(
                f"probe: labels= goes with a tensor of inputs, not with {type(source).__name__}"
            )
        return [(source, labels)]
    if isinstance(source, Tensor):
        raise BitlensError("probe: labels are missing; give (inputs, labels), both tensors")
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], Tensor):
        return [source]
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        return DataLoader(source, batch_size=256)
    if not isinstance(source, Iterable):
        raise BitlensError(
            f"probe: {type(source).__name__} gives no batches; give (inputs, labels), a torch Dataset "
            "or an iterable of such pairs"
        )
    if iter(source) is source:
        raise BitlensError(
            f"probe: a {type(source).__name__} can be iterated only once; give a list or a DataLoader"
        )
    return source


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, tuple | list) or [isinstance(b, Tensor) for b in batch] != [True] * 2:
        holds = (
            ", ".join(type(b).__name__ for b in batch) if isinstance(batch, tuple | list) else ""
        )
        raise BitlensError(
            f"probe: a batch is a {type(batch).__name__}({holds}); give (inputs, labels), both tensors"
        )
    inputs, labels = batch
    if labels.is_floating_point() or labels.is_complex():
        raise BitlensError(
            f"probe: labels are {labels.dtype}; I(T;Y) needs classes, integers such as labels.long()"
        )
    if labels.dim() != 1 or labels.shape != inputs.shape[:1]:
        raise BitlensError(
            f"probe: labels of shape {tuple(labels.shape)} do not go with inputs of shape "
            f"{tuple(inputs.shape)}; one label a sample, (n,)"
        )
    ignored = int((labels.long() == IGNORED).sum())
    if ignored:
        raise BitlensError(
            f"probe: {ignored} labels of a batch are {IGNORED}, which losses ignore and which would count "
            f"as a class here; leave these samples out: keep = labels != {IGNORED}, then (inputs[keep], "
            "labels[keep])"
        )
    return inputs, labels


def _octets(tensor: Tensor) -> Any:
    """The numbers' bytes in the order of their places, as a buffer."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
