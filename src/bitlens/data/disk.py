"""A split too large for memory: decoded on demand, some batches ahead, by a pool of threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bitlens.data.decode import decode_rows
from bitlens.data.rows import Rows

_BATCHES_AHEAD = 3
_ROWS_PER_JOB = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class DiskImageSet:
    """One split on disk, with the interface of `ImageSet` except the tensor of all images.

    Attributes:
        rows: the encoded images.
        labels: int64 `(n,)`, on the device the batches go to.
        channels: 1 for grey, 3 for color.
        image_size: side of the square images, in pixels.
    """

    rows: Rows
    labels: Tensor
    channels: int
    image_size: int

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def subset(self, indices: Tensor | Sequence[int]) -> DiskImageSet:
        """The images at `indices`, in that order."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        return replace(
            self,
            rows=self.rows.select(index.cpu().numpy()),
            labels=self.labels[index.to(self.labels.device)],
        )

    def to(self, device: torch.device | str) -> DiskImageSet:
        """The same split, with its batches delivered on another device."""
        return replace(self, labels=self.labels.to(device))

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 `(b, c, h, w)` and labels `(b,)` for each int64 index tensor of `order`.

        Raises:
            BitlensError: an image of the batch cannot be decoded; it is named.
        """
        pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="decode")
        waiting: deque[list[Future[Tensor]]] = deque()
        ahead = 0
        try:
            for indices in order:
                while ahead < len(order) and len(waiting) < _BATCHES_AHEAD:
                    waiting.append(self._submit(pool, order[ahead].cpu().numpy()))
                    ahead += 1
                parts = [job.result() for job in waiting.popleft()]
                images = torch.cat(parts) if parts else self._decode(np.empty(0, np.int64))
                device = self.labels.device
                yield images.to(device), self.labels[indices.to(device)]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor, indices: np.ndarray) -> list[Future[Tensor]]:
        starts = range(0, len(indices), _ROWS_PER_JOB)
        return [pool.submit(self._decode, indices[at : at + _ROWS_PER_JOB]) for at in starts]

    def _decode(self, indices: np.ndarray) -> Tensor:
        arrays = decode_rows(self.rows, indices, self.image_size, channels=self.channels)
        shape = (len(indices), self.channels, self.image_size, self.image_size)
        images = np.empty(shape, np.uint8)
        for at, array in enumerate(arrays):
            images[at] = array
        return torch.from_numpy(images)
