"""Upsampled outputs against interpolation written out, and the sizes around a multiple of four."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.tasks.resize import upsample_outputs


def line(values: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation of values at pixel centres, constant beyond the outermost ones."""
    centres = (np.arange(size) + 0.5) * len(values) / size - 0.5
    return np.interp(centres, np.arange(len(values)), values)


def plane(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows = np.stack([line(row, size[1]) for row in values])
    return np.stack([line(column, size[0]) for column in rows.T], axis=1)


@settings(max_examples=25, deadline=None)
@given(h=st.integers(1, 21), w=st.integers(1, 21), draw=st.integers(0, 99))
def test_by_exactly_four_and_cropped(h: int, w: int, draw: int) -> None:
    small = np.random.default_rng(draw).normal(size=(-(-h // 4), -(-w // 4)))
    found = upsample_outputs(torch.from_numpy(small)[None, None], (h, w))
    expected = plane(small, (4 * small.shape[0], 4 * small.shape[1]))[:h, :w]
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-12)


def test_to_another_size_after_the_crop() -> None:
    small = np.random.default_rng(0).normal(size=(3, 4))
    found = upsample_outputs(torch.from_numpy(small)[None, None], (10, 15), (31, 20))
    expected = plane(plane(small, (12, 16))[:10, :15], (31, 20))
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-12)


def test_the_images_own_size_asks_for_one_step() -> None:
    outputs = torch.randn(2, 3, 4, 5)
    assert torch.equal(
        upsample_outputs(outputs, (15, 18), (15, 18)), upsample_outputs(outputs, (15, 18))
    )


def test_half_precision_is_raised_first() -> None:
    outputs = torch.randn(1, 2, 3, 3).to(torch.bfloat16)
    found = upsample_outputs(outputs, (12, 12))
    assert found.dtype == torch.float32
    assert torch.equal(found, upsample_outputs(outputs.float(), (12, 12)))


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 2, 5, 3), (2, 5, 4)])
def test_outputs_of_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="20x16 pixels must be"):
        upsample_outputs(torch.zeros(shape), (20, 16))
