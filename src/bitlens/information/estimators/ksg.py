"""Nearest-neighbour estimates for continuous values: KSG's first estimator, and Ross's for a discrete label.

Formulas in nats, psi the digamma function, distances by the maximum norm:

* KSG-1 (Kraskov et al. 2004): psi(k) + psi(N) - mean[psi(n_x + 1) + psi(n_y + 1)]. n_x and n_y count the
  others that lie, in x and in y alone, strictly closer than the k-th neighbour does in (x, y).
* Ross (2014): psi(N) + psi(k) - mean psi(N_y) - mean psi(m). m counts the others, whatever their label,
  no farther away than the k-th neighbour of the same label; a class of fewer than k + 1 samples uses all
  it has, and one of a single sample is left out.

Cost: O(N^2 d) time, O(chunk N) memory; trees gain nothing beyond some 15 dimensions.
Bias: small while the density is smooth over k neighbours, towards 0 at sharp edges, for strong
dependence and in many dimensions: at N = 2,000, five normal pairs of correlation .5 read .81 bit of 1.04
(mean of 10 draws), one pair is right within its standard deviation of .02 to .04. Small k: less bias,
more variance.
Validity: densities only. Ties break both: in a layer of signs all distances are 0 or 2, the counts are
arbitrary, and noise added to break the ties is what would be measured. Such data are refused; they are
read exactly as codes. For a deterministic float layer I(X;T) is infinite, and KSG returns a number
nonetheless.
"""

from __future__ import annotations

import math

import numpy.typing as npt
import torch
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.information.estimators.checks import read_labels, read_tensor

_COINCIDING = 0.01
_DISCRETE = 0.1
_ATOM = 0.2


def ksg_information(x: Tensor, y: Tensor, *, k: int = 3, chunk: int = 512) -> float:
    """I(X;Y) in bits of two continuous vectors; can come out slightly below 0.

    Args:
        x: (n, ...) samples.
        y: (n, ...) the partners of x.
        k: neighbours, at least 1.
        chunk: rows compared with all others at a time.

    Raises:
        BitlensError: fewer than k + 2 samples, unequal lengths, NaN or infinity, ties or discrete values.
    """
    _check(k, chunk)
    a = _read_continuous(x, "x", k)
    b = _read_continuous(y, "y", k)
    if len(a) != len(b):
        raise BitlensError(f"x has {len(a)} samples, y {len(b)}; give pairs")
    n = len(a)
    psi_sum = 0.0
    for start in range(0, n, chunk):
        apart_x, apart_y = _others(a, start, chunk), _others(b, start, chunk)
        reach = torch.maximum(apart_x, apart_y).kthvalue(k, dim=1, keepdim=True).values
        for apart in (apart_x, apart_y):
            closer = (apart < reach).sum(1).double()
            psi_sum += float(torch.digamma(closer + 1).sum())
    return (_psi(k) + _psi(n) - psi_sum / n) / math.log(2)


def ross_information(
    t: Tensor, labels: Tensor | npt.ArrayLike, *, k: int = 3, chunk: int = 512
) -> float:
    """I(T;Y) in bits of a continuous layer and a discrete label; can come out slightly below 0.

    Args:
        t: (n, ...) activations.
        labels: (n,) integer classes.
        k: neighbours of the same class, at least 1.
        chunk: rows compared with all others at a time.

    Raises:
        BitlensError: fewer than k + 2 samples, no class with two, NaN or infinity, ties or discrete
            values, or labels that do not fit.
    """
    _check(k, chunk)
    rows = _read_continuous(t, "activations", k)
    classes, _ = read_labels(labels, len(rows))
    classes = classes.to(rows.device)
    shared = classes.bincount()[classes] > 1
    if not bool(shared.any()):
        raise BitlensError("labels: no class has two samples; neighbours of a class need that")
    rows, classes = rows[shared], classes[shared]
    n, sizes = len(rows), classes.bincount()[classes]
    neighbours = (sizes - 1).clamp(max=k)
    psi_within = 0.0
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        apart = _others(rows, start, chunk)
        same = classes[part, None] == classes
        nearest = apart.masked_fill(~same, math.inf).topk(min(k, n), largest=False).values
        reach = nearest.gather(1, neighbours[part, None] - 1)
        within = (apart <= reach).sum(1).double()
        psi_within += float(torch.digamma(within).sum())
    psi_k, psi_class = (float(torch.digamma(a.double()).mean()) for a in (neighbours, sizes))
    return (_psi(n) + psi_k - psi_class - psi_within / n) / math.log(2)


def _check(k: int, chunk: int) -> None:
    if k < 1:
        raise BitlensError(f"k={k}: use one neighbour or more (3 is usual)")
    if chunk < 1:
        raise BitlensError(f"chunk={chunk}: compare one row or more at a time")


def _read_continuous(values: Tensor, name: str, k: int) -> Tensor:
    rows = read_tensor(values, name, fewest=k + 2).double()
    distinct = len(rows.unique(dim=0))
    if len(rows) - distinct > _COINCIDING * len(rows):
        raise BitlensError(
            f"{name}: only {distinct} of {len(rows)} samples differ; neighbour estimates need continuous "
            "values. Read binary or discrete ones as codes (one_bit, bin_codes)"
        )
    for unit, column in enumerate(rows.T):
        counts = column.unique(return_counts=True)[1]
        if _is_discrete(counts, len(rows)):
            raise BitlensError(
                f"{name}: unit {unit} takes {len(counts)} values in {len(rows)} samples, one of them "
                f"{int(counts.max())} times; neighbour estimates need continuous values. Read binary or "
                "discrete ones as codes (one_bit, bin_codes), and a layer before its ReLU"
            )
    return rows


def _is_discrete(counts: Tensor, samples: int) -> bool:
    """Few values or one value very often; a constant unit adds nothing to any distance and may stay."""
    few = len(counts) < _DISCRETE * samples
    return len(counts) > 1 and (few or int(counts.max()) > max(_ATOM * samples, 2))


def _others(rows: Tensor, start: int, chunk: int) -> Tensor:
    """(chunk, n) distances of some rows to all, infinite to themselves."""
    apart = torch.cdist(rows[start : start + chunk], rows, p=math.inf)
    here = torch.arange(len(apart), device=rows.device)
    apart[here, here + start] = math.inf
    return apart


def _psi(value: int) -> float:
    return float(torch.digamma(torch.tensor(value, dtype=torch.float64)))
