"""One process: gathering is the identity. Several processes: tests/training/test_distributed.py."""

from __future__ import annotations

import torch

from bitlens.objectives.gather import gather, world
from bitlens.objectives.negatives import Batch


def test_one_process_is_rank_zero_of_one() -> None:
    assert world() == (0, 1)


def test_gathering_alone_returns_the_tensor_itself() -> None:
    """No copy, no detach: the gradient is the one without distribution."""
    x = torch.randn(3, 2, requires_grad=True)
    assert gather(x) is x
    labels = torch.arange(3)
    assert gather(labels) is labels


def test_a_batch_alone_is_its_own_whole() -> None:
    labels, indices = torch.arange(3), torch.arange(3) + 5
    batch = Batch.over_ranks(labels, indices)
    assert batch.all_labels is labels and batch.all_indices is indices
    empty = Batch.over_ranks(None, None)
    assert empty.labels is empty.indices is empty.all_labels is empty.all_indices is None
