"""Lower bounds on information by training a critic and judging it on samples it has not seen.

* I(T;Y) >= H(Y) - cross-entropy of a probe q(y | t), in bits: the cross-entropy exceeds H(Y|T) by the
  mean KL divergence from the true posterior to q. H(Y) is the plug-in on the held-out labels, which errs
  downwards, so the bound stays one. Needs no support and no codes: the companion of very wide layers.
* I(X;T) >= InfoNCE (van den Oord et al. 2018): with B held-out pairs and scores s_ij of x_i with t_j,
  the mean of log2(e^s_ii / ((1/B) sum_j e^s_ij)). Never more than log2 B. Chosen over NWJ, a bound
  without that ceiling whose variance grows like e^I, and over SMILE, which gains its low variance by
  clipping and is no bound.

Cost: steps * batch forward and backward passes of a small net; InfoNCE also B^2 scores a batch. Bias:
downwards only, by what the critic has not learnt and, for InfoNCE, towards its ceiling; over several
seeds and widths the largest value is again no bound, so fix them first.
Validity: the bound holds for the mean; one number exceeds the truth by chance as its standard error
says. Samples must be independent: near-copies of training samples among the held-out ones break the
bound. A value near 0 may mean a poor critic.

The samples are shuffled by the seed and split three ways: training, validation (which picks the training
step that is kept, and so may not judge it) and held out. Inputs are standardised by the training part's
moments.
"""

from __future__ import annotations

import math

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.information.estimators.checks import read_labels, read_tensor
from bitlens.information.estimators.critic_training import (
    CriticBound,
    Training,
    check_training,
    make_net,
    split_samples,
    standardise,
    summarise,
    train_critic,
)

_FEWEST = 50

PROBE = Training()
"""A linear probe of labels."""
PAIRS = Training(hidden=128, steps=1500, rate=1e-3)
"""A critic of pairs with the ceiling log2 256 = 8 bits."""


def bound_label_information(
    t: Tensor, labels: Tensor | npt.ArrayLike, training: Training = PROBE
) -> CriticBound:
    """A lower bound on I(T;Y) by a linear probe, or one with a hidden layer.

    Args:
        t: (n, ...) activations, real-valued or signs.
        labels: (n,) integer classes.
        training: how the probe is trained.

    Raises:
        BitlensError: fewer than 50 samples, NaN or infinity, labels that do not fit, or a bad `training`.
    """
    check_training(training, least_hidden=0)
    rows = read_tensor(t, fewest=_FEWEST)
    classes, how_many = read_labels(labels, len(rows))
    classes = classes.to(rows.device)
    generator = torch.Generator().manual_seed(training.seed)
    train, validate, judge = split_samples(len(rows), training.held_out, generator)
    rows = standardise(rows, train)
    # A probe that starts at the classes' shares starts at a bound of 0, which training can only improve.
    counts = classes[train].bincount(minlength=how_many) + 1
    log_prior = (counts / counts.sum()).log()
    probe = make_net(rows.shape[1], training.hidden, how_many, generator, log_prior).to(rows.device)

    def loss(part: Tensor) -> Tensor:
        return nn.functional.cross_entropy(probe(rows[part]), classes[part])

    kept = train_critic(probe, loss, lambda: float(loss(validate)), train, training, generator)
    with torch.no_grad():
        log_q = probe(rows[judge]).double().log_softmax(1)
    shares = classes[judge].bincount(minlength=how_many).double() / len(judge)
    gains = log_q.gather(1, classes[judge, None])[:, 0] - shares[classes[judge]].log()
    entropy = -float(torch.special.xlogy(shares, shares).sum())
    return summarise(gains, entropy, len(judge), kept)


def bound_pair_information(x: Tensor, t: Tensor, training: Training = PAIRS) -> CriticBound:
    """InfoNCE's lower bound on I(X;T) of paired samples, with a separable critic g(x) . h(t).

    Args:
        x: (n, ...) samples.
        t: (n, ...) the partners of x.
        training: how the critic is trained; g and h have a hidden layer of `hidden` units each.

    Raises:
        BitlensError: fewer than 50 samples, too few held-out ones for two batches, unequal lengths, NaN or
            infinity, or a bad `training`.
    """
    check_training(training, least_hidden=1)
    a, b = read_tensor(x, "x", _FEWEST), read_tensor(t, "t", _FEWEST)
    if len(a) != len(b):
        raise BitlensError(f"x has {len(a)} samples, t {len(b)}; give pairs")
    generator = torch.Generator().manual_seed(training.seed)
    train, validate, judge = split_samples(len(a), training.held_out, generator)
    batches = len(judge) // training.batch
    if batches < 2 or len(validate) < training.batch:
        raise BitlensError(
            f"batch={training.batch}: {len(judge)} held-out and {len(validate)} validation samples are too "
            "few for two batches and one; give more samples or a smaller batch"
        )
    a, b = standardise(a, train), standardise(b, train)
    critic = nn.ModuleList(
        make_net(part.shape[1], training.hidden, training.hidden, generator) for part in (a, b)
    ).to(a.device)

    def gain(part: Tensor) -> Tensor:
        scores = critic[0](a[part]) @ critic[1](b[part]).T / math.sqrt(training.hidden)
        return (scores.log_softmax(1).diagonal() + math.log(len(part))).mean()

    def gains_of(part: Tensor) -> Tensor:
        whole = len(part) // training.batch * training.batch
        return torch.stack([gain(batch) for batch in part[:whole].split(training.batch)])

    kept = train_critic(
        critic,
        lambda part: -gain(part),
        lambda: -float(gains_of(validate).mean()),
        train,
        training,
        generator,
    )
    with torch.no_grad():
        gains = gains_of(judge).double()
    return summarise(gains, math.log(training.batch), batches * training.batch, kept)
