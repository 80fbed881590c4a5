"""Pairwise bounds against loops, closed cases and numerical integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.information.estimators.kde import KdeBounds, kde_bounds, kde_bounds_of_signs


def direct(t: np.ndarray, v: float) -> float:
    """The KL formula for all rows, one pair at a time."""
    total = 0.0
    for a in t:
        near = [math.exp(-float(((a - b) ** 2).sum()) / (2 * v)) for b in t]
        total -= math.log2(sum(near) / len(t))
    return total / len(t)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 20), st.integers(1, 4), st.floats(0.05, 3), st.integers(0, 99))
def test_the_formula_pair_by_pair(samples: int, units: int, v: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    t, labels = draw.normal(size=(samples, units)), draw.integers(0, 3, samples)
    found = kde_bounds(torch.from_numpy(t), labels, noise=v, chunk=7)
    assert found.input_high == pytest.approx(direct(t, v), abs=1e-9)
    assert found.input_low == pytest.approx(direct(t, 4 * v), abs=1e-9)
    classes = [t[labels == label] for label in np.unique(labels)]
    within = [sum(len(c) / samples * direct(c, f * v) for c in classes) for f in (1, 4)]
    assert found.label_kl == pytest.approx(direct(t, v) - within[0], abs=1e-9)
    assert found.label_bhattacharyya == pytest.approx(direct(t, 4 * v) - within[1], abs=1e-9)
    assert found.label_low == pytest.approx(max(0, direct(t, 4 * v) - within[0]), abs=1e-9)
    assert found.label_low is not None and found.label_high is not None
    assert found.label_low <= found.label_high + 1e-12


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 60),
    st.sampled_from([1, 5, 63, 64, 65, 130]),
    st.floats(0.05, 20),
    st.integers(0, 99),
)
def test_signs_by_hamming_distance_equal_the_dense_way(
    samples: int, units: int, v: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Rows drawn from few, so that codes repeat.
    rows = torch.randn(9, units, generator=generator)
    t = rows[torch.randint(0, 9, (samples,), generator=generator)]
    labels = torch.randint(0, 4, (samples,), generator=generator)
    signs = torch.where(t >= 0, 1.0, -1.0)
    dense = kde_bounds(signs, labels, noise=v)
    short = kde_bounds_of_signs(t, labels, noise=v, chunk=4)
    for name in KdeBounds.__dataclass_fields__:
        assert getattr(short, name) == pytest.approx(getattr(dense, name), abs=1e-9), name


def test_far_clusters_one_cluster_and_singletons() -> None:
    centres = 100 * torch.eye(8)
    clusters = kde_bounds(centres.repeat(25, 1))
    assert (clusters.input_low, clusters.input_high) == pytest.approx((3, 3))
    assert not clusters.saturated
    one = kde_bounds(torch.ones(50, 3), torch.arange(50) % 2)
    assert (one.input_low, one.input_high, one.label_kl) == pytest.approx((0, 0, 0))
    apart = kde_bounds(100 * torch.eye(64), torch.arange(64) % 4)
    assert apart.input_low == pytest.approx(6) and apart.ceiling == 6 and apart.saturated
    # All apart: the label's own entropy, whatever the labels are.
    assert (apart.label_low, apart.label_high) == pytest.approx((2, 2))


@pytest.mark.parametrize(
    ("mu", "truth"), [(0.5, 0.160747), (1, 0.485944), (2, 0.912822), (3, 0.994447)]
)
def test_a_sign_in_normal_noise_lies_between_the_bounds(mu: float, truth: float) -> None:
    """Two equal clusters at -mu and +mu, noise of variance 1: the information was integrated elsewhere."""
    t = torch.tensor([[-mu], [mu]]).repeat(20, 1)
    found = kde_bounds(t, torch.arange(40) % 2, noise=1.0)
    assert found.input_low <= truth <= found.input_high
    assert found.label_low is not None and found.label_high is not None
    assert found.label_low <= truth <= found.label_high
    # Kernel between the clusters: exp(-(2 mu)^2 / 2), and a quarter of that exponent.
    assert found.input_high == pytest.approx(1 - math.log2(1 + math.exp(-2 * mu**2)))
    assert found.input_low == pytest.approx(1 - math.log2(1 + math.exp(-(mu**2) / 2)))


def test_brackets_hold_the_integral_of_a_random_mixture() -> None:
    draw = np.random.default_rng(0)
    for v in (0.02, 0.3, 2.0):
        t, labels = draw.normal(size=12), np.arange(12) % 3
        grid = np.linspace(-15, 15, 40_001)
        bumps = np.exp(-((grid - t[:, None]) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)

        def entropy(members: np.ndarray) -> float:
            density = members.mean(0)
            logs = np.log2(density, out=np.zeros_like(density), where=density > 0)
            return float(-(density * logs).sum() * 30 / 40_000)

        noise_entropy = 0.5 * math.log2(2 * math.pi * math.e * v)
        found = kde_bounds(torch.from_numpy(t)[:, None], labels, noise=v)
        assert found.input_low <= entropy(bumps) - noise_entropy <= found.input_high
        truth = entropy(bumps) - np.mean([entropy(bumps[labels == y]) for y in range(3)])
        assert found.label_low is not None and found.label_high is not None
        assert found.label_low <= truth <= found.label_high


def test_a_common_offset_changes_nothing() -> None:
    t = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = kde_bounds(t + 1e5, noise=0.01)
    assert moved.input_high == pytest.approx(kde_bounds(t, noise=0.01).input_high, abs=1e-6)


def test_wide_layers_saturate() -> None:
    t = torch.tanh(torch.randn(600, 64, generator=torch.Generator().manual_seed(0)))
    found = kde_bounds(t)
    assert found.input_high == pytest.approx(math.log2(600), abs=1e-4) and found.saturated
    assert found.label_low is None and found.label_kl is None


def test_errors() -> None:
    with pytest.raises(BitlensError, match="noise=0"):
        kde_bounds(torch.rand(4, 2), noise=0)
    with pytest.raises(BitlensError, match="chunk=0"):
        kde_bounds_of_signs(torch.rand(4, 2), chunk=0)
