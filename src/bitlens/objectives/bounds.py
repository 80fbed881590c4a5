"""Two contrastive lower bounds on mutual information, in nats, as plain functions of scores.

An anchor i has one positive score and a row of candidate scores, of which a mask says which are its
negatives. Let N be the number of negatives.

InfoNCE (van den Oord et al., 2018):  L = -s+ + log(e^s+ + sum e^s-).
NCE (Tian et al., 2020; CMIM):        h(s) = e^s / (e^s + N Z),
                                      L = -log h(s+) - sum log(1 - h(s-)).

Both bounds have one form: I >= L0 - L for any critic, where L0 is the least loss of a blind critic, one
whose scores are all equal: log(N + 1) for InfoNCE, (N + 1) log(N + 1) - N log N for NCE.

The papers print log N - L for NCE, which misses L0 by log N - L0 = -(N + 1) log(1 + 1/N), about one nat,
even with the best critic. Why the nat may be added: with r = p(u, v) / (p(u) p(v)) the best critic is
h = r / (r + N), whose loss satisfies I = log N - L + N E[(1 + r/N) log(1 + r/N)] over the product of
marginals; x log x is convex and E[1 + r/N] = 1 + 1/N, so the last term is at least
(N + 1) log(1 + 1/N); any other critic has a larger L.

Places of one image depend on each other, so with them among the negatives the two argue differently.
NCE then bounds the divergence of the joint from what the negatives really are, not from the product of
marginals: a score. InfoNCE stays a bound where one side is a function of the other, u = g(v), as a code
is of what enters its sign, and the samples' order says nothing. Shuffle them: the positive's number i is
then uniform and independent of all keys K, and L0 - L <= I(i; anchor | K). With v as keys this is at
most H(u | K) <= H(u). With u as keys the anchor v depends on i through the key u_i alone, so it is at most
H(u_i | K) <= H(u). And H(u) = I(u; v). The average over a region is no such function: a score again.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(positive: Tensor, candidates: Tensor, negative: Tensor) -> Tensor:
    """InfoNCE loss per anchor, nats.

    Args:
        positive: (n,) score of each anchor's positive.
        candidates: (n, m) scores against the candidate keys.
        negative: (n, m) bool, which candidates are negatives of the anchor.

    Returns:
        (n,) losses.
    """
    others = candidates.masked_fill(~negative, -math.inf)
    return torch.logsumexp(torch.cat([positive[:, None], others], dim=1), dim=1) - positive


def info_nce_of_all(candidates: Tensor, own: Tensor) -> Tensor:
    """The same where the positive is one of the candidates and all others are negatives.

    Keeps one matrix for the backward pass instead of four, which counts with thousands of anchors.

    Args:
        candidates: (n, m) scores against the candidate keys.
        own: (n,) column of each anchor's positive.

    Returns:
        (n,) losses.
    """
    return F.cross_entropy(candidates, own, reduction="none")


def nce(positive: Tensor, candidates: Tensor, negative: Tensor, log_z: Tensor) -> Tensor:
    """NCE loss per anchor, nats: binary classification, summed over the negatives.

    Args:
        positive: (n,) score of each anchor's positive.
        candidates: (n, m) scores against the candidate keys.
        negative: (n, m) bool, which candidates are negatives of the anchor.
        log_z: scalar, log of the normaliser Z (mean of e^s over pairs at the first batch).

    Returns:
        (n,) losses.
    """
    offset = log_z + negative.sum(1).to(positive.dtype).log()
    attracted = F.softplus(offset - positive)
    repelled = F.softplus(candidates - offset[:, None]).masked_fill(~negative, 0.0).sum(1)
    return attracted + repelled


def ceiling(negatives: Tensor, *, loss: str) -> Tensor:
    """Least loss of a blind critic, so the largest bound that `negatives` per anchor allow, nats.

    log(N + 1) for "infonce"; for "nce" log N + (N + 1) log(1 + 1/N), about one nat more. No loss is
    negative, so `ceiling - loss` never exceeds the ceiling.
    """
    counts = negatives.to(torch.get_default_dtype())
    if loss == "infonce":
        return counts.log1p()
    return counts.log() + (counts + 1) * counts.reciprocal().log1p()
