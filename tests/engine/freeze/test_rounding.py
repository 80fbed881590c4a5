"""Weights rounded to int8: closed forms, and every possible rounding where there are few."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.engine.freeze.flow import Op
from bitlens.engine.freeze.moments import Moments
from bitlens.engine.freeze.rounding import quantize_weights
from bitlens.engine.graph import Window


def test_weights_are_symmetric_per_filter() -> None:
    filters = np.asarray([[1.27, -0.635, 0.01], [0, 0, 0], [-2.54e-4, 0, 2.0e-6]], np.float32)
    q, scale = quantize_weights(filters[:, :, None, None])
    q = q[:, :, 0, 0]
    assert q.dtype == np.int8
    assert q[0].tolist() == [127, -64, 1]  # 63.5 goes to the even 64
    assert scale[0] == np.float32(1.27 / 127)
    assert q[1].tolist() == [0, 0, 0] and scale[1] == 1
    assert q[2].tolist() == [-127, 0, 1]


@pytest.mark.parametrize("size", [1e-44, 1e-37, 1e-20, 1e20, 3e38])
def test_weights_of_any_size_keep_their_proportions(size: float) -> None:
    filters = np.asarray([[1.0, -0.5, 0.25]], np.float32) * np.float32(size)
    for moments in (None, np.eye(3)[None]):
        q, scale = quantize_weights(filters[:, :, None, None], moments)
        q = q[:, :, 0, 0]
        assert np.isfinite(scale).all() and (scale > 0).all()
        if size > 1e-35:
            back = q[0] * float(scale[0]) / float(filters[0, 0])
            assert np.abs(back - np.asarray([1, -0.5, 0.25])).max() <= 0.5 / 127 * 1.001
        else:
            assert not q.any()  # below what float32 scales can say


def loss(filters: np.ndarray, back: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """E[(w x - q x)^2] of each filter."""
    lost = (back - filters).reshape(len(filters), -1)
    return np.einsum("ok,kl,ol->o", lost, moments, lost)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_on_alike_inputs_it_comes_near_the_best_of_all_roundings(seed: int) -> None:
    random = np.random.default_rng(seed)
    filters = random.normal(size=(1, 1, 2, 3))
    x = random.normal(size=(500, 1)) + 0.1 * random.normal(size=(500, 6))
    moments = x.T @ x / len(x)
    q, scale = quantize_weights(filters, moments[None])
    found = loss(filters, q * scale[:, None, None, None].astype(float), moments)[0]
    step = np.abs(filters).max() / 127
    exact = (filters / step).reshape(-1)
    corners = itertools.product(*([np.floor(e), np.ceil(e)] for e in exact))
    every = [
        loss(filters, (np.asarray(c) * step).reshape(filters.shape), moments)[0] for c in corners
    ]
    nearest = loss(filters, np.rint(filters / step) * step, moments)[0]
    assert found <= 1.001 * nearest
    assert found <= 8 * min(every)
    assert min(every) <= 1.000001 * nearest


def test_it_halves_the_loss_of_rounding_to_the_nearest_on_smooth_images() -> None:
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(8, 3, 24, 24, generator=random)
    images = F.avg_pool2d(noise, 5, 1, 2) * 3 + 0.5
    filters = torch.randn(16, 3, 3, 3, generator=random).numpy().astype(np.float64)
    conv = Op(
        kind="float_conv",
        shape=(24, 24, 16),
        name="stem",
        window=Window(kernel=(3, 3), pads=(1, 1, 1, 1)),
        weights=filters,
    )
    seen = Moments(conv)
    seen.add(images.permute(0, 2, 3, 1).numpy())
    assert seen.mean is not None

    def output_error(q: np.ndarray, scale: np.ndarray) -> float:
        lost = torch.from_numpy(q * scale.astype(float)[:, None, None, None] - filters)
        return float(F.conv2d(images.double(), lost, padding=1).square().mean())

    carried, nearest = quantize_weights(filters, seen.mean), quantize_weights(filters)
    assert output_error(*carried) < 0.5 * output_error(*nearest)


def test_moments_are_those_of_the_windows() -> None:
    """Two groups, stride 2, a border on one side: windows taken by hand."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(2, 4, 5, 4)).astype(np.float32)
    conv = Op(
        kind="float_conv",
        shape=(2, 2, 6),
        name="conv",
        groups=2,
        window=Window(kernel=(2, 3), stride=(2, 2), pads=(1, 0, 0, 0)),
        weights=np.zeros((6, 2, 2, 3)),
    )
    moments = Moments(conv)
    moments.add(rows)
    padded = np.pad(rows.astype(float), ((0, 0), (1, 0), (0, 0), (0, 0)))
    for group in range(2):
        windows = [
            image[y : y + 2, x : x + 3, 2 * group : 2 * group + 2].transpose(2, 0, 1).reshape(-1)
            for image in padded
            for y in (0, 2)
            for x in (0, 2)
        ]
        expected = np.mean([np.outer(w, w) for w in windows], axis=0)
        assert moments.mean is not None
        assert np.allclose(moments.mean[group], expected)
