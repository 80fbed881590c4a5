"""The bound of dense pairs against information that is known in closed form, from Gaussian maps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitlens
from bitlens.objectives.cmim import CMIM
from bitlens.objectives.config import CMIMConfig
from bitlens.objectives.contrast import Contrast
from bitlens.objectives.negatives import Batch

IMAGES, SIDE = 8, 6
CRITIC: dict[str, Any] = {
    "loss": "infonce",
    "head": "mlp",
    "learn_critic": True,
    "width": 24,
    "temperature": 0.2,
    "anchors": 128,
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Mean bound over fresh batches, its standard error and its ceiling, nats."""

    mean: float
    error: float
    ceiling: float


def code_entropy(rho: float) -> float:
    """H(a_B) of two signs of a Gaussian pair of correlation rho, nats: P(same) = 1/2 + asin(rho)/pi."""
    same = 0.5 + math.asin(rho) / math.pi
    return math.log(2) - same * math.log(same) - (1 - same) * math.log(1 - same)


def gaussian_maps(source: torch.Generator, rho: float, shared: float, side: int = SIDE) -> Tensor:
    """(n, 2, side, side): channels of correlation rho, positions of an image of correlation shared."""
    free = torch.randn(IMAGES, 2, side, side, generator=source)
    common = torch.randn(IMAGES, 2, 1, 1, generator=source)
    both = math.sqrt(shared) * common + math.sqrt(1 - shared) * free
    first, second = both.unbind(1)
    return torch.stack([first, rho * first + math.sqrt(1 - rho**2) * second], 1)


def read(steps: int, rho: float, shared: float, *, cell: int = 1, **settings: Any) -> Reading:
    """Train heads and critic on a layer fed with fresh maps, then read the bound of maps never seen.

    Every position of the maps is blown up to cell x cell equal ones.
    """
    source = torch.Generator().manual_seed(1)
    layer = bitlens.binarize(nn.Conv2d(2, 3, 1), "bireal", keep_float=())
    cmim = CMIM(layer, seed=3, **(CRITIC | settings))
    optimizer = torch.optim.Adam([p for p in cmim.parameters() if p.requires_grad], lr=5e-3)
    side = SIDE if cell == 1 else 4
    bounds = []
    for step in range(steps + 100):
        maps = gaussian_maps(source, rho, shared, side)
        layer(F.interpolate(maps, scale_factor=cell) if cell > 1 else maps)
        term = cmim()
        if step < steps:
            optimizer.zero_grad()
            term.loss.backward()
            optimizer.step()
        else:
            bounds.append(term.bound)
    found = torch.stack(bounds)
    return Reading(
        mean=float(found.mean()), error=float(found.std() / 10), ceiling=term.ceiling or 0.0
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [{"pairs": "location"}, {"pairs": "region", "pool": 4, "cell": 3}])
def test_entropy_of_codes_is_met_from_below_and_falls_with_their_correlation(
    kind: dict[str, Any],
) -> None:
    """Independent places: the information of a place's code and activation is the code's entropy."""
    readings = []
    for rho in (0.0, 0.9):
        reading = read(250, rho, 0.0, **kind)
        truth = code_entropy(rho)
        assert reading.ceiling == pytest.approx(math.log(128), abs=1e-5)
        assert reading.mean <= truth + 3 * reading.error
        assert reading.mean >= 0.85 * truth
        readings.append(reading.mean)
    assert readings[1] < readings[0]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.7, 1.0])
def test_places_that_depend_on_each_other_never_lift_the_bound(shared: float) -> None:
    """Negatives of the own image share its code more often, which may cost information, never add it."""
    reading = read(250, 0.0, shared, pairs="location")
    assert 0 < reading.mean <= code_entropy(0.0) + 3 * reading.error


def test_bound_rises_with_the_correlation_of_gaussian_samples_and_stays_below_the_truth() -> None:
    """I = -ln(1 - rho^2) / 2 for a pair of Gaussians."""
    config = CMIMConfig(**(CRITIC | {"pairs": "location"}))
    batch = Batch(labels=None, indices=None, all_labels=None, all_indices=None, counts=(128,))
    means = []
    for rho in (0.3, 0.8, 0.95):
        source = torch.Generator().manual_seed(2)
        contrast = Contrast(1, 1, config, seed=3)
        optimizer = torch.optim.Adam(contrast.parameters(), lr=5e-3)
        bounds = []
        for step in range(350):
            u, noise = torch.randn(2, 128, 1, generator=source)
            done = contrast(u, rho * u + math.sqrt(1 - rho**2) * noise, batch)
            if step < 250:
                optimizer.zero_grad()
                done.loss.backward()
                optimizer.step()
            else:
                bounds.append(done.bound)
        found, truth = torch.stack(bounds), -0.5 * math.log(1 - rho**2)
        mean, error = float(found.mean()), float(found.std() / 10)
        assert mean <= truth + 3 * error
        assert mean >= 0.75 * truth - 3 * error
        means.append(mean)
    assert means == sorted(means) and means[-1] > means[0] + 0.5
