"""Cross-entropy over known pixels: by hand, with nothing known, and blind to what is void."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitlens.data.dense.scenes import VOID
from bitlens.tasks.segment import segment_loss, segment_score


def scene(seed: int = 0) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=source, dtype=torch.float64)
    mask = torch.randint(3, (2, 4, 5), generator=source)
    mask[torch.rand(2, 4, 5, generator=source) < 0.3] = VOID
    return logits, mask


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_sum_pixel_by_pixel(smoothing: float) -> None:
    logits, mask = scene()
    expected, known = 0.0, 0
    for i in range(2):
        for y in range(4):
            for x in range(5):
                if (label := int(mask[i, y, x])) == VOID:
                    continue
                z = logits[i, :, y, x].tolist()
                total = math.log(sum(math.exp(v) for v in z))
                target = [smoothing / 3 + (1 - smoothing) * (c == label) for c in range(3)]
                expected += sum(t * (total - v) for t, v in zip(target, z, strict=True))
                known += 1
    loss = segment_loss(logits, mask, label_smoothing=smoothing)
    assert 0 < known < 40 and loss.count.item() == known
    assert loss.sum.item() == pytest.approx(expected, rel=1e-12)
    assert loss.mean().item() == pytest.approx(expected / known, rel=1e-12)


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_void_pixels_change_nothing(seed: int) -> None:
    logits, mask = scene(seed)
    void = (mask == VOID)[:, None].expand_as(logits)
    other = torch.where(void, torch.randn_like(logits) * 1e3, logits)
    found = []
    for given_logits in (logits, other):
        given_logits = given_logits.clone().requires_grad_()
        loss = segment_loss(given_logits, mask, label_smoothing=0.1)
        (gradient,) = torch.autograd.grad(loss.mean(), given_logits)
        assert not gradient[void].any() and gradient[~void].any()
        found.append((loss.mean().detach(), gradient, segment_score(given_logits, mask)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_nothing_known_is_zero_with_zero_gradients() -> None:
    logits, mask = scene()
    logits.requires_grad_()
    loss = segment_loss(logits, torch.full_like(mask, VOID)).mean()
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))
    assert segment_score(logits.detach(), torch.full_like(mask, VOID)).isnan()


def test_nan_shows() -> None:
    logits, mask = scene()
    logits[0, 1][mask[0] != VOID] = math.nan
    assert segment_loss(logits, mask).mean().isnan()


def test_the_score_is_pixel_accuracy() -> None:
    logits = torch.tensor([[[[2.0, 0.0, 1.0]], [[1.0, 3.0, 0.0]]]])
    assert segment_score(logits, torch.tensor([[[0, 0, VOID]]])).item() == 0.5
    assert segment_score(logits, torch.tensor([[[0, 1, VOID]]])).item() == 1.0
