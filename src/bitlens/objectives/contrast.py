"""One contrast: two feature sets of the same images, embedded, scored and bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.objectives.bounds import ceiling, info_nce, info_nce_of_all, nce
from bitlens.objectives.config import CMIMConfig
from bitlens.objectives.gather import gather
from bitlens.objectives.heads import Head
from bitlens.objectives.negatives import BankNegatives, Batch, BatchNegatives, Keys, QueueNegatives


@dataclass(frozen=True, kw_only=True)
class Contrasted:
    """Mean loss of both directions, and the MI lower bound with its ceiling, nats."""

    loss: Tensor
    bound: Tensor
    ceiling: Tensor


class Contrast(nn.Module):
    """Contrastive bound on I(u; v) from paired samples, with its own heads, critic and negatives.

    Both directions are scored (each side is anchor once) and averaged; each is a lower bound, so the
    mean is one too. Usable alone on any paired features.

    Args:
        u_features: columns of u.
        v_features: columns of v.
        config: see `CMIMConfig`.
        dataset_size: rows of the bank, for `source="bank"`.
        seed: of the heads' initial weights, the bank's start and its draws.
    """

    started: Tensor

    def __init__(
        self,
        u_features: int,
        v_features: int,
        config: CMIMConfig,
        *,
        dataset_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also reseed every GPU, whose states are not forked here.
            torch.default_generator.manual_seed(seed)
            self.u_head = Head(u_features, config.width, config.head)
            self.v_head = Head(v_features, config.width, config.head)
        for head in (self.u_head, self.v_head):
            head.requires_grad_(config.train_heads)
        self.u_keys = _store(config, dataset_size, seed + 1)
        self.v_keys = _store(config, dataset_size, seed + 2)
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(config.temperature)), requires_grad=config.learn_critic
        )
        learn_z = config.learn_critic and config.loss == "nce"
        self.log_z = nn.Parameter(torch.zeros(2), requires_grad=learn_z)
        self.register_buffer("started", torch.zeros(2, dtype=torch.bool))

    @property
    def valid(self) -> bool:
        """Whether the reported number is a bound: see `bitlens.objectives.bounds`."""
        fresh = self.u_keys.exact and self.config.exclude == "instance"
        codes = self.config.pairs == "location" and self.config.loss == "infonce"
        return fresh and (self.config.pairs == "image" or codes)

    def forward(self, u: Tensor, v: Tensor, batch: Batch) -> Contrasted:
        """Contrast u (n, ku) with v (n, kv), row i of both from the same sample."""
        if len(u) != len(v):
            raise BitlensError(f"contrast: u has {len(u)} rows and v {len(v)}; they must be paired")
        # Differences of scores near their ceiling vanish in the 8 bits of bfloat16.
        with torch.autocast(u.device.type, enabled=False):
            u_point, v_point = self.u_head(u), self.v_head(v)
            from_u = self._side(0, u_point, self.v_keys(v_point, batch), batch)
            from_v = self._side(1, v_point, self.u_keys(u_point, batch), batch)
            if self.training:
                self.u_keys.update(u_point, batch)
                self.v_keys.update(v_point, batch)
        return Contrasted(
            loss=(from_u.loss + from_v.loss) / 2,
            bound=(from_u.bound + from_v.bound) / 2,
            ceiling=(from_u.ceiling + from_v.ceiling) / 2,
        )

    def _side(self, side: int, anchors: Tensor, keys: Keys, batch: Batch) -> Contrasted:
        counts = keys.negative.sum(1)
        # A process may hold none of the anchors that were drawn from all processes' maps.
        if len(counts) and int(counts.min()) == 0:
            raise BitlensError(
                f"cmim: an image of this batch of {len(anchors)} has no negative (exclude="
                f"{self.config.exclude!r}); use a larger batch, a bank, or exclude='instance'"
            )
        scaled = anchors * self.log_temperature.neg().exp()
        positive = (scaled * keys.positives).sum(1)
        candidates = scaled @ keys.candidates.T
        if self.config.loss == "infonce" and keys.own is not None:
            losses = info_nce_of_all(candidates, keys.own)
        elif self.config.loss == "infonce":
            losses = info_nce(positive, candidates, keys.negative)
        else:
            self._start(side, candidates, keys.negative)
            losses = nce(positive, candidates, keys.negative, self.log_z[side])
        top = ceiling(counts, loss=self.config.loss).to(losses.dtype)
        return Contrasted(
            loss=batch.mean(losses),
            bound=batch.mean(top - losses.detach()),
            ceiling=batch.mean(top),
        )

    @torch.no_grad()
    def _start(self, side: int, scores: Tensor, negative: Tensor) -> None:
        """Set the NCE normaliser from the negatives of this side's first batch: log mean e^s."""
        if bool(self.started[side]):
            return
        total = gather(scores.masked_fill(~negative, -math.inf).logsumexp((0, 1))[None])
        pairs = gather(negative.sum()[None])
        self.log_z[side] = total.logsumexp(0) - pairs.sum().log()
        self.started[side] = True


def _store(
    config: CMIMConfig, dataset_size: int | None, seed: int
) -> BatchNegatives | QueueNegatives | BankNegatives:
    if config.source == "batch":
        return BatchNegatives(config.exclude)
    if config.source == "queue":
        return QueueNegatives(config.negatives, config.width, config.exclude)
    if dataset_size is None:
        raise BitlensError("cmim: source='bank' keeps a row per training image; pass dataset_size")
    return BankNegatives(
        dataset_size, config.width, config.negatives, config.momentum, config.exclude, seed
    )
