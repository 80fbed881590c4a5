"""Where the keys come from: the batch itself, a queue of past batches, or a bank with a row an image.

Each store answers one question for a batch of anchors: which positive key belongs to each, which
candidate keys stand against it, and which of those may count as its negatives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.objectives.gather import gather, gather_shares, world


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Keys for n local anchors: positives (n, d), candidates (m, d), negative mask (n, m)."""

    positives: Tensor
    candidates: Tensor
    negative: Tensor
    own: Tensor | None = None
    """(n,) where each anchor's positive stands among the candidates, if all others are negatives."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The samples of one step: their labels and data-set indices, here and over all ranks.

    A sample is an image, or a place of one; then its index tells image and place.
    """

    labels: Tensor | None
    indices: Tensor | None
    all_labels: Tensor | None
    all_indices: Tensor | None
    counts: tuple[int, ...] | None = None
    """Samples of each rank; None where all have as many."""
    _others: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def over_ranks(cls, labels: Tensor | None, indices: Tensor | None) -> Batch:
        """Gather what the local tensors mean globally; once per step, shared by all layers."""
        return cls(
            labels=labels,
            indices=indices,
            all_labels=None if labels is None else gather(labels),
            all_indices=None if indices is None else gather(indices),
        )

    def gather(self, x: Tensor) -> Tensor:
        """Rows of all ranks' samples from the rows of this rank's, with gradient."""
        return gather(x) if self.counts is None else gather_shares(x, self.counts)

    def mean(self, values: Tensor) -> Tensor:
        """Share of this rank in the mean over all samples: the mean of all ranks' shares is that."""
        if self.counts is None or len(set(self.counts)) == 1:
            return values.mean()
        return values.sum() * (len(self.counts) / sum(self.counts))

    def numbers(self, keys: Tensor) -> Tensor:
        """(n,) numbers of the local samples among those of all ranks."""
        count, (rank, _) = len(keys), world()
        first = rank * count if self.counts is None else sum(self.counts[:rank])
        return torch.arange(first, first + count, device=keys.device)

    def others(self, keys: Tensor, everyone: int, exclude: str) -> Tensor:
        """(n, everyone) mask of the samples that may stand against each of the n local ones.

        Every layer and side of a step asks for the same mask, so it is made once.
        """
        if exclude not in self._others:
            mask = (
                self.numbers(keys)[:, None] != torch.arange(everyone, device=keys.device)[None, :]
            )
            if exclude == "class":
                mask &= allowed(self.labels, self.all_labels, "labels")
            self._others[exclude] = mask
        return self._others[exclude]


def allowed(own: Tensor | None, others: Tensor | None, what: str) -> Tensor:
    """(n, m) True where identity or label differ; an error when `what` was not given."""
    if own is None or others is None:
        raise BitlensError(f"cmim: these negatives need {what}; call cmim({what}=...)")
    return own[:, None] != others[None, :]


class BatchNegatives(nn.Module):
    """Every other sample of the (global) batch."""

    exact = True
    """Keys are as fresh as the anchors."""

    def __init__(self, exclude: str) -> None:
        super().__init__()
        self.exclude = exclude

    def forward(self, keys: Tensor, batch: Batch) -> Keys:
        """Keys (n, d), the other side's embeddings of the same samples, with gradient."""
        everyone = batch.gather(keys)
        negative = batch.others(keys, len(everyone), self.exclude)
        dense = batch.counts is not None and self.exclude == "instance"
        own = batch.numbers(keys) if dense else None
        return Keys(positives=keys, candidates=everyone, negative=negative, own=own)

    def update(self, keys: Tensor, batch: Batch) -> None:
        """Nothing to remember."""


class QueueNegatives(nn.Module):
    """The last `length` keys of earlier steps, detached; the positive is the fresh key.

    Beside each key stands what may not meet it: its label where classes are excluded, else its
    data-set index (and place), because a queue that reaches into the epoch before holds images of this
    batch.
    """

    exact = False
    queue: Tensor
    owners: Tensor
    filled: Tensor

    def __init__(self, length: int, width: int, exclude: str) -> None:
        super().__init__()
        self.exclude = exclude
        self.register_buffer("queue", torch.zeros(length, width))
        self.register_buffer("owners", torch.full((length,), -1))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def forward(self, keys: Tensor, batch: Batch) -> Keys:
        """Fresh positives against what the queue holds; the batch itself until it holds anything."""
        held = int(self.filled)
        if held == 0:
            return BatchNegatives(self.exclude)(keys, batch)
        if self.exclude == "class":
            negative = allowed(batch.labels, self.owners[:held], "labels")
        elif batch.indices is not None:
            negative = allowed(batch.indices, self.owners[:held], "indices")
        else:
            negative = torch.ones(len(keys), held, dtype=torch.bool, device=keys.device)
        return Keys(positives=keys, candidates=self.queue[:held].clone(), negative=negative)

    @torch.no_grad()
    def update(self, keys: Tensor, batch: Batch) -> None:
        """Push this step's keys of all ranks; the oldest fall out."""
        fresh = batch.gather(keys.detach())[-len(self.queue) :]
        known = batch.all_labels if self.exclude == "class" else batch.all_indices
        owners = self.owners.new_full((len(fresh),), -1) if known is None else known[-len(fresh) :]
        held = int(self.filled)
        keep = min(held, len(self.queue) - len(fresh))
        size = keep + len(fresh)
        self.queue[:size] = torch.cat([self.queue[held - keep : held], fresh])
        self.owners[:size] = torch.cat([self.owners[held - keep : held], owners])
        self.filled.fill_(size)


class BankNegatives(nn.Module):
    """One remembered key per training image, as in CRD and the released CMIM code.

    The positive key is the image's own row, so it is an epoch old. `draws` rows are drawn once a step
    and shared by all anchors: one matrix product instead of `n draws` gathered rows.
    """

    exact = False
    bank: Tensor
    bank_labels: Tensor
    step: Tensor

    def __init__(
        self, images: int, width: int, draws: int, momentum: float, exclude: str, seed: int
    ) -> None:
        super().__init__()
        self.draws, self.momentum, self.exclude, self.seed = (
            min(draws, images),
            momentum,
            exclude,
            seed,
        )
        bound = (width / 3) ** -0.5
        start = torch.rand(images, width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("bank", start * 2 * bound - bound)
        self.register_buffer("bank_labels", torch.full((images,), -1))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def _drawn(self, device: torch.device) -> Tensor:
        # Seeding by (seed, step) leaves nothing to save, and makes every rank draw the same rows.
        source = torch.Generator().manual_seed((self.seed * 1_000_003 + int(self.step)) % 2**63)
        return torch.randperm(len(self.bank), generator=source)[: self.draws].to(device)

    def _rows(self, indices: Tensor | None) -> Tensor:
        if indices is None:
            raise BitlensError(
                "cmim: a bank needs the images' data-set indices; call cmim(indices=...)"
            )
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(self.bank):
            raise BitlensError(
                f"cmim: an index in {int(indices.min())}..{int(indices.max())} lies outside the bank of "
                f"{len(self.bank)} images; pass dataset_size"
            )
        return indices

    def forward(self, keys: Tensor, batch: Batch) -> Keys:
        """Remembered positives and shared draws of remembered negatives, no gradient to either."""
        own = self._rows(batch.indices)
        drawn = self._drawn(keys.device)
        negative = allowed(own, drawn, "indices")
        if self.exclude == "class":
            # A row whose image was not seen yet has no label: it may be drawn, as any other class.
            negative &= allowed(batch.labels, self.bank_labels[drawn], "labels")
        return Keys(positives=self.bank[own], candidates=self.bank[drawn], negative=negative)

    @torch.no_grad()
    def update(self, keys: Tensor, batch: Batch) -> None:
        """Move the rows of this step's images of all ranks towards their keys, and renormalise."""
        if batch.all_indices is None:
            raise BitlensError(
                "cmim: a bank needs the images' data-set indices; call cmim(indices=...)"
            )
        rows, fresh = batch.all_indices, gather(keys.detach())
        mixed = self.momentum * self.bank[rows] + (1 - self.momentum) * fresh
        self.bank[rows] = F.normalize(mixed, dim=1)
        if batch.all_labels is not None:
            self.bank_labels[rows] = batch.all_labels
        self.step += 1
