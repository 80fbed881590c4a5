"""What every estimator asks of activations and labels before it counts anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.information.contingency import as_labels


def read_tensor(t: Tensor, name: str = "activations", fewest: int = 1) -> Tensor:
    """The rows of a layer as an (n, d) tensor without gradient, checked.

    Raises:
        BitlensError: no axis of units, not real-valued, fewer than `fewest` rows, NaN or infinity.
    """
    if t.dim() < 2 or t[:1].numel() == 0:
        raise BitlensError(
            f"{name} of shape {tuple(t.shape)}: give a row per sample, (n, d), n and d 1 or more"
        )
    if t.is_complex():
        raise BitlensError(f"{name} are complex numbers; give real ones")
    if len(t) < fewest:
        raise BitlensError(f"{name}: {len(t)} samples are too few; this estimator needs {fewest}")
    rows = t.detach().flatten(1)
    rows = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
    if rows.is_floating_point() and not bool(rows.isfinite().all()):
        place = int((~rows.isfinite()).any(1).nonzero()[0])
        raise BitlensError(f"{name} hold NaN or infinity (first in row {place})")
    return rows


def read_rows(t: Tensor) -> npt.NDArray[Any]:
    """`read_tensor` as an array on the CPU."""
    rows = read_tensor(t).cpu()
    return (rows.float() if rows.dtype in (torch.bfloat16, torch.float16) else rows).numpy()


def read_labels(labels: Tensor | npt.ArrayLike, samples: int) -> tuple[Tensor, int]:
    """Labels renamed 0, 1, ..., C - 1 in their order, on the CPU, and their number C.

    Raises:
        BitlensError: labels that are not integers, or not one for each sample.
    """
    given = as_labels(labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels)
    if given.shape != (samples,):
        raise BitlensError(f"labels have shape {given.shape}, the activations {samples} samples")
    names, places = np.unique(given, return_inverse=True)
    return torch.from_numpy(places.reshape(-1).astype(np.int64)), len(names)
