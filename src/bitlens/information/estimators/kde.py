"""Pairwise-distance bounds on the information a layer carries once Gaussian noise is added to it.

T = f(x) + N(0, v I), x uniform on the N samples: a mixture of N Gaussians, whose entropy Kolchinsky and
Tracey (2017) bracket by the distances of its centres. With k_v(i, j) = exp(-|t_i - t_j|^2 / (2 v)), in
bits:

* upper (KL divergence):          -(1/N) sum_i log2 (1/N) sum_j k_v(i, j)
* lower (Bhattacharyya distance): the same with 4 v in place of v
* I(T;Y) = I(X;T) - sum_y (N_y/N) I(X;T | Y = y). The literature's curves take the same kind of bound in
  both terms (`label_kl`, `label_bhattacharyya`): a difference of two bounds, which is not one itself.
  Lower minus upper and upper minus lower is a true bracket (`label_low`, `label_high`), often a wide
  one.

Cost: O(N^2 d) time, O(chunk N) memory. Signs take a shorter way: |t_i - t_j|^2 is 4 times the Hamming
distance, so k_v = exp(-2 Ham / v) comes out of a table, and equal codes are counted, not repeated: O(K^2
d / 64).
Bias: none on this set of samples: these bounds hold for the mixture itself. As a statement about the
population they are limited by log2 N, the value for N samples far apart; 5,000 samples of 64 units with
v = .1 sit on it.
Validity: v is chosen, not found (Saxe et al. 2018: .1; others: .001), the noise is not in the net, and
the numbers grow without limit as v shrinks. State v, and compare only equal v and equal scales of the
activations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.information.codes import pack_rows
from bitlens.information.estimators.checks import read_labels, read_tensor

NEAR_CEILING = 0.1
"""Bits below log2 N within which a bound says nothing but that the samples lie apart."""

Blocks: TypeAlias = Iterator[tuple[slice, Tensor]]


@dataclass(frozen=True, kw_only=True)
class KdeBounds:
    """Bounds in bits on the information in a layer with noise of variance `noise` added.

    Attributes:
        input_low: lower (Bhattacharyya) bound on I(X;T).
        input_high: upper (KL) bound on I(X;T).
        label_bhattacharyya: I(T;Y) with the Bhattacharyya bound in both terms, as plotted in the literature.
        label_kl: I(T;Y) with the KL bound in both terms, as plotted in the literature.
        label_low: lower bound on I(T;Y), at least 0.
        label_high: upper bound on I(T;Y), at most the entropy of the labels.
        ceiling: log2 N, what `input_low` and `input_high` cannot exceed.
        noise: the variance v.
        samples: N.
    """

    input_low: float
    input_high: float
    label_bhattacharyya: float | None
    label_kl: float | None
    label_low: float | None
    label_high: float | None
    ceiling: float
    noise: float
    samples: int

    @property
    def saturated(self) -> bool:
        """Whether the upper bound sits on log2 N."""
        return self.ceiling - self.input_high < NEAR_CEILING


def kde_bounds(
    t: Tensor,
    labels: Tensor | npt.ArrayLike | None = None,
    *,
    noise: float = 0.1,
    chunk: int = 512,
) -> KdeBounds:
    """Bounds for a real-valued layer, from all pairs of samples in float64.

    Args:
        t: (n, ...) activations; all axes but the first are units.
        labels: (n,) integer classes, or None where only I(X;T) is wanted.
        noise: variance v of the noise, in squared units of the activations.
        chunk: rows compared with all others at a time.

    Raises:
        BitlensError: fewer than 2 samples, NaN or infinity, a bad noise or chunk, or labels that do not fit.
    """
    rows = read_tensor(t, fewest=2).double()
    _check(noise, chunk)
    weights = _one_hot(labels, len(rows)).to(rows.device)
    return _collect(_distance_blocks(rows, noise, chunk), weights, noise, labels is not None)


def kde_bounds_of_signs(
    t: Tensor,
    labels: Tensor | npt.ArrayLike | None = None,
    *,
    noise: float = 0.1,
    chunk: int = 512,
) -> KdeBounds:
    """The same bounds for the layer's signs (>= 0 is +1), by Hamming distances of distinct codes.

    Args:
        t: (n, ...) activations, read by their signs.
        labels: (n,) integer classes, or None.
        noise: variance v of the noise added to values -1 and +1.
        chunk: distinct codes compared with all others at a time.

    Raises:
        BitlensError: as `kde_bounds`.
    """
    rows = read_tensor(t, fewest=2)
    _check(noise, chunk)
    words, place = np.unique(pack_rows((rows >= 0).cpu().numpy()), axis=0, return_inverse=True)
    per_sample = _one_hot(labels, len(rows))
    weights = torch.zeros(len(words), per_sample.shape[1], dtype=torch.float64)
    weights.index_add_(0, torch.from_numpy(place.reshape(-1)), per_sample)
    blocks = _hamming_blocks(words, rows.shape[1], noise, chunk)
    return _collect(blocks, weights, noise, labels is not None)


def _check(noise: float, chunk: int) -> None:
    if not (math.isfinite(noise) and noise > 0):
        raise BitlensError(f"noise={noise}: the variance of the noise must be a positive number")
    if chunk < 1:
        raise BitlensError(f"chunk={chunk}: compare one row or more at a time")


def _one_hot(labels: Tensor | npt.ArrayLike | None, samples: int) -> Tensor:
    if labels is None:
        return torch.ones(samples, 1, dtype=torch.float64)
    classes, how_many = read_labels(labels, samples)
    return torch.nn.functional.one_hot(classes, how_many).double()


def _distance_blocks(rows: Tensor, noise: float, chunk: int) -> Blocks:
    """Blocks of exp(-|t_i - t_j|^2 / (8 v)), the flatter kernel; its fourth power is the other."""
    # Centred, so that the difference of squares loses no digits to a common offset.
    centred = rows - rows.mean(0)
    squares = centred.square().sum(1)
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        distances = squares[part, None] + squares - 2 * (centred[part] @ centred.T)
        yield part, distances.clamp_(min=0).mul_(-1 / (8 * noise)).exp_()


def _hamming_blocks(words: npt.NDArray[np.uint64], units: int, noise: float, chunk: int) -> Blocks:
    table = torch.exp(torch.arange(units + 1, dtype=torch.float64) / (-2 * noise))
    for start in range(0, len(words), chunk):
        part = slice(start, start + chunk)
        apart = np.zeros((len(words[part]), len(words)), dtype=np.int64)
        for column in words.T:
            apart += np.bitwise_count(column[part, None] ^ column)
        yield part, table[torch.from_numpy(apart)]


def _collect(blocks: Blocks, weights: Tensor, noise: float, labelled: bool) -> KdeBounds:
    """Both bounds, for all samples together and within the classes.

    Args:
        blocks: the flatter kernel, rows of it at a time.
        weights: (k, c) samples of each class at each of the k points.
        noise: the variance v.
        labelled: whether the columns of `weights` are classes.
    """
    per_class = weights.sum(0)
    samples = per_class.sum()
    # [all samples, within classes] for the flatter kernel (lower bound) and its fourth power (upper).
    low, high = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for part, kernel in blocks:
        low += _mean_logs(kernel, weights, per_class, part)
        high += _mean_logs(kernel.square_().square_(), weights, per_class, part)
    ceiling = math.log2(float(samples))
    (low_all, low_within), (high_all, high_within) = (
        (low / samples).tolist(),
        (high / samples).tolist(),
    )
    shares = per_class / samples
    label_entropy = float(-(shares * shares.log2()).sum())
    return KdeBounds(
        input_low=_within(low_all, ceiling),
        input_high=_within(high_all, ceiling),
        label_bhattacharyya=low_all - low_within if labelled else None,
        label_kl=high_all - high_within if labelled else None,
        label_low=_within(low_all - high_within, label_entropy) if labelled else None,
        label_high=_within(high_all - low_within, label_entropy) if labelled else None,
        ceiling=ceiling,
        noise=noise,
        samples=int(samples),
    )


def _mean_logs(kernel: Tensor, weights: Tensor, per_class: Tensor, part: slice) -> Tensor:
    """-sum over a block's samples of log2 of the mean kernel: to all samples, and to their class."""
    here = weights[part]
    sums = kernel @ weights
    to_all = -(here.sum(1) * (sums.sum(1) / per_class.sum()).log2()).sum()
    # A class without a sample at a point may have a kernel sum of 0; its weight there is 0 too.
    to_class = -(here * torch.where(here > 0, sums / per_class, 1.0).log2()).sum()
    return torch.stack([to_all, to_class]).cpu()


def _within(value: float, most: float) -> float:
    return min(max(value, 0.0), most)
