"""Metrics by hand, against scikit-learn and numpy, and blind to pixels without truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score
from torch import Tensor

from bitlens.data.dense.scenes import VOID, Truth
from bitlens.tasks.dense_metrics import DenseMetrics, DepthMetrics, SegmentationMetrics


def judged_classes(predicted: Tensor, mask: Tensor, classes: int) -> dict[str, float]:
    metrics = SegmentationMetrics(classes)
    metrics.update(predicted, mask)
    return metrics.compute()


def judged_depth(predicted: Tensor, depth: Tensor) -> dict[str, float]:
    metrics = DepthMetrics()
    metrics.update(predicted, depth)
    return metrics.compute()


def test_classes_by_hand() -> None:
    """Class 0: 2 of 3 right, 1 wrongly claimed; class 1: 1 of 2; class 2 never; class 3 claimed only."""
    mask = torch.tensor([[[0, 0, 0, VOID], [1, 1, VOID, VOID]]])
    said = torch.tensor([[[0, 0, 3, 2], [1, 0, 1, 2]]])
    assert judged_classes(said, mask, 5) == pytest.approx(
        {
            "miou": (2 / 4 + 1 / 2 + 0) / 3,
            "pixel_accuracy": 3 / 5,
            "class_accuracy": (2 / 3 + 1 / 2) / 2,
        }
    )


@given(seed=st.integers(0, 9999), classes=st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_classes_against_scikit_learn(seed: int, classes: int) -> None:
    draw = np.random.default_rng(seed)
    among = draw.choice(classes, size=draw.integers(2, classes + 1), replace=False)
    truth, said = draw.choice(among, 60), draw.choice(among, 60)
    said[:20] = truth[:20]
    known = draw.random(60) < 0.7
    known[0] = True
    mask = np.where(known, truth, VOID).reshape(3, 4, 5)
    metrics = SegmentationMetrics(classes)
    for i in range(3):
        predicted = torch.from_numpy(said.reshape(3, 4, 5)[i : i + 1])
        metrics.update(predicted, torch.from_numpy(mask[i : i + 1]))
    truth, said = truth[known], said[known]
    seen = np.union1d(truth, said)
    found = metrics.compute()
    assert found["miou"] == pytest.approx(
        jaccard_score(truth, said, labels=seen, average="macro", zero_division=0)
    )
    assert found["pixel_accuracy"] == pytest.approx(accuracy_score(truth, said))
    recalls = [np.mean(said[truth == c] == c) for c in np.unique(truth)]
    assert found["class_accuracy"] == pytest.approx(np.mean(recalls))
    if np.isin(said, truth).all():  # scikit-learn warns of others
        assert found["class_accuracy"] == pytest.approx(balanced_accuracy_score(truth, said))


def test_depth_by_hand() -> None:
    """Ratios 1.2, 1.5, 1.9 and 4; the last pixel is unknown."""
    depth = torch.tensor([[[1.0, 3.0, 2.0, 1.0, 0.0]]])
    said = torch.tensor([[[1.2, 2.0, 3.8, 4.0, 5.0]]])
    assert judged_depth(said, depth) == pytest.approx(
        {
            "rmse": math.sqrt((0.2**2 + 1 + 1.8**2 + 9) / 4),
            "abs_rel": (0.2 + 1 / 3 + 0.9 + 3) / 4,
            "log10": (math.log10(1.2) + math.log10(1.5) + math.log10(1.9) + math.log10(4)) / 4,
            "delta1": 1 / 4,
            "delta2": 2 / 4,
            "delta3": 3 / 4,
        }
    )


@given(seed=st.integers(0, 9999))
@settings(max_examples=20, deadline=None)
def test_depth_against_numpy_pooled_over_pixels(seed: int) -> None:
    draw = np.random.default_rng(seed)
    t = draw.uniform(0.5, 9, (4, 3, 5)).astype(np.float32)
    d = (t * np.exp(draw.normal(0, 0.4, t.shape))).astype(np.float32)
    t[draw.random(t.shape) < 0.4] = 0
    t[2] = 0
    metrics = DepthMetrics()
    for i, k in ((0, 1), (1, 3), (3, 4)):
        metrics.update(torch.from_numpy(d[i:k]), torch.from_numpy(t[i:k]))
    d, t = d[t > 0].astype(np.float64), t[t > 0].astype(np.float64)
    ratio = np.maximum(d / t, t / d)
    expected = {
        "rmse": np.sqrt(np.mean((d - t) ** 2)),
        "abs_rel": np.mean(np.abs(d - t) / t),
        "log10": np.mean(np.abs(np.log10(d / t))),
        **{f"delta{k}": np.mean(ratio < 1.25**k) for k in (1, 2, 3)},
    }
    assert metrics.compute() == pytest.approx(expected, rel=1e-12)


def test_a_ratio_of_exactly_the_threshold_is_not_below_it() -> None:
    found = judged_depth(torch.tensor([[[1.25]]]), torch.tensor([[[1.0]]]))
    assert (found["delta1"], found["delta2"]) == (0.0, 1.0)


@given(seed=st.integers(0, 9999))
@settings(max_examples=15, deadline=None)
def test_predictions_without_truth_change_nothing(seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    hidden = torch.rand(2, 4, 5, generator=source) < 0.4
    mask = torch.randint(3, (2, 4, 5), generator=source).masked_fill(hidden, VOID)
    depth = (1 + torch.rand(2, 4, 5, generator=source)).masked_fill(hidden, 0)
    classes = torch.randint(3, (2, 4, 5), generator=source)
    metres = 1 + torch.rand(2, 4, 5, generator=source)
    found = []
    for said, far in (
        (classes, metres),
        (torch.where(hidden, 2 - classes, classes), torch.where(hidden, math.nan, metres)),
    ):
        metrics = DenseMetrics({"segment": 3, "depth": 1})
        metrics.update(Truth(mask, depth), classes=said, depth=far)
        found.append(metrics.compute())
    assert found[0] == found[1]
    assert len(found[0]) == 9


def test_nothing_known_is_nan() -> None:
    found = judged_classes(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), VOID), 3)
    found |= judged_depth(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))
    assert len(found) == 9 and all(math.isnan(value) for value in found.values())


def test_nan_predictions_show() -> None:
    found = judged_depth(torch.tensor([[[math.nan, 1.0]]]), torch.ones(1, 1, 2))
    assert all(math.isnan(found[name]) for name in ("rmse", "abs_rel", "log10"))
    assert found["delta1"] == found["delta3"] == 0.5


def test_more_pixels_than_single_precision_counts() -> None:
    """20 million pixels, one in 2^24 + 2 of them wrong, are not rounded away."""
    metrics = DepthMetrics()
    row = torch.full((1, 1, 1000), 2.0)
    mean = metrics.means["delta1"]
    mean.mean_value += 2.0**24
    mean.weight += 2.0**24
    row[0, 0, 0] = 1.0
    metrics.update(torch.full((1, 1, 1000), 1.0), row)
    assert metrics.compute()["delta1"] == (2**24 + 1) / (2**24 + 1000)
