"""A train and a test split out of rows that came as one."""

from __future__ import annotations

import torch

from bitlens.data.rows import Rows
from bitlens.data.split import hold_out

TEST_SHARE = 0.2


def split_single(rows: Rows) -> tuple[Rows, Rows]:
    """Hold out a fifth of every class as test, drawn with seed 0."""
    generator = torch.Generator().manual_seed(0)
    train, test = hold_out(torch.from_numpy(rows.labels), TEST_SHARE, generator)
    return rows.select(train.numpy()), rows.select(test.numpy())
