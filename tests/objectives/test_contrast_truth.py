"""The bound against mutual information that is known exactly: noisy signs, noisy bits, nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from bitlens.objectives.config import CMIMConfig
from bitlens.objectives.contrast import Contrast
from bitlens.objectives.negatives import Batch

BATCH = 256
ALONE = Batch(labels=None, indices=None, all_labels=None, all_indices=None)
LOSSES = ("infonce", "nce")

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Mean bound over fresh batches, its standard error and its ceiling, nats."""

    mean: float
    error: float
    ceiling: float


def entropy_of_bit(p: float) -> float:
    """Nats."""
    return 0.0 if p in (0.0, 1.0) else -p * math.log(p) - (1 - p) * math.log(1 - p)


def noisy_sign_information(rho: float) -> float:
    """I(u; b) of b = sign(rho u + sqrt(1 - rho^2) eps) with standard normal u and eps, nats."""
    slope = rho / math.sqrt(1 - rho**2)
    noise, _ = quad(lambda u: norm.pdf(u) * entropy_of_bit(float(norm.cdf(slope * u))), -9, 9)
    return math.log(2) - noise


def noisy_signs(dimensions: int, rho: float) -> Draw:
    def draw(count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        u = torch.randn(count, dimensions, generator=source)
        noise = torch.randn(count, dimensions, generator=source)
        return u, torch.where(rho * u + math.sqrt(1 - rho**2) * noise >= 0, 1.0, -1.0)

    return draw


def noisy_bits(bits: int, flip: float) -> Draw:
    def draw(count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        u = torch.randint(0, 2, (count, bits), generator=source) * 2.0 - 1
        flipped = torch.rand(count, bits, generator=source) < flip
        return u, torch.where(flipped, -u, u)

    return draw


def trained_reading(draw: Draw, columns: int, loss: str, *, steps: int) -> Reading:
    """Train heads and critic on fresh draws, then read the bound on draws never seen."""
    source = torch.Generator().manual_seed(1)
    config = CMIMConfig(loss=loss, head="mlp", learn_critic=True, width=48, temperature=0.2)
    contrast = Contrast(columns, columns, config, seed=3)
    trained = [p for p in contrast.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        contrast(*draw(BATCH, source), ALONE).loss.backward()
        optimizer.step()
        schedule.step()
    contrast.eval()
    with torch.no_grad():
        fresh = [contrast(*draw(BATCH, source), ALONE) for _ in range(150)]
    bounds = torch.stack([reading.bound for reading in fresh])
    return Reading(
        mean=float(bounds.mean()),
        error=float(bounds.std() / len(bounds) ** 0.5),
        ceiling=float(fresh[0].ceiling),
    )


def check_close_from_below(reading: Reading, truth: float) -> None:
    assert truth < reading.ceiling / 2, "choose an easier truth: the bound saturates"
    assert reading.mean <= truth + 3 * reading.error
    assert reading.mean >= 0.9 * truth


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("dimensions", "rho"), [(1, 0.9), (4, 0.95)])
def test_information_of_noisy_signs(dimensions: int, rho: float, loss: str) -> None:
    reading = trained_reading(noisy_signs(dimensions, rho), dimensions, loss, steps=800)
    check_close_from_below(reading, dimensions * noisy_sign_information(rho))


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("bits", "flip"), [(1, 0.1), (4, 0.05)])
def test_information_of_noisy_bits(bits: int, flip: float, loss: str) -> None:
    reading = trained_reading(noisy_bits(bits, flip), bits, loss, steps=800)
    check_close_from_below(reading, bits * (math.log(2) - entropy_of_bit(flip)))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_information_where_there_is_none(loss: str) -> None:
    reading = trained_reading(noisy_signs(4, 0.0), 4, loss, steps=300)
    assert reading.mean <= 3 * reading.error
    assert reading.mean > -0.1


@pytest.mark.parametrize("loss", LOSSES)
def test_more_information_than_the_ceiling_saturates_below_it(loss: str) -> None:
    """Twelve clean bits are 8.3 nats; 255 negatives cannot show more than the ceiling."""
    reading = trained_reading(noisy_bits(12, 0.0), 12, loss, steps=200)
    assert 0.6 * reading.ceiling < reading.mean <= reading.ceiling


def test_truth_of_noisy_signs_agrees_with_a_histogram() -> None:
    """The numerical integral itself, against counts of a million draws."""
    rho = 0.9
    u, b = noisy_signs(1, rho)(1_000_000, torch.Generator().manual_seed(0))
    cells = torch.searchsorted(torch.linspace(-4, 4, 161), u[:, 0].contiguous())
    joint = torch.bincount(cells * 2 + (b[:, 0] > 0), minlength=324).view(-1, 2).double() / len(u)
    product = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    counted = float(torch.special.xlogy(joint, joint / product.clamp_min(1e-300)).nansum())
    assert counted == pytest.approx(noisy_sign_information(rho), abs=2e-3)
