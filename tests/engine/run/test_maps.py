"""Maps at the size of their images and of pictures, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitlens.engine.run import maps
from bitlens.tasks.resize import upsample_outputs

SIDE = st.integers(1, 33)


def whole(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All bands, in order and without gaps."""
    found, at = [], 0
    for rows, band in maps.resized_bands(pixels, size):
        assert rows.start == at and band.shape[1] == rows.stop - rows.start
        found.append(band)
        at = rows.stop
    assert at == size[0]
    return np.concatenate(found, axis=1)


@given(size=st.tuples(SIDE, SIDE), wanted=st.tuples(SIDE, SIDE))
def test_it_is_what_the_metrics_are_taken_of(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    height, width = size
    shape = (2, -(-height // 4), -(-width // 4))
    answer = np.random.default_rng(height * width).standard_normal(shape, dtype=np.float32)
    pixels = maps.upsampled(answer, 4, size)
    expected = upsample_outputs(torch.from_numpy(answer)[None], size)
    np.testing.assert_allclose(pixels, expected[0], rtol=1e-4, atol=1e-5)
    expected = upsample_outputs(torch.from_numpy(answer)[None], size, wanted)
    np.testing.assert_allclose(whole(pixels, wanted), expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(9, 7), (31, 7), (3, 50)])
def test_bands_change_nothing(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).standard_normal((3, 9, 7), dtype=np.float32)
    at_once = whole(pixels, size)
    monkeypatch.setattr(maps, "BAND_NUMBERS", 3 * 7 * 2)
    assert len(list(maps.resized_bands(pixels, size))) > 1
    np.testing.assert_array_equal(whole(pixels, size), at_once)


def test_the_same_size_is_the_same_map() -> None:
    pixels = np.random.default_rng(0).standard_normal((1, 5, 6), dtype=np.float32)
    np.testing.assert_array_equal(whole(pixels, (5, 6)), pixels)
    np.testing.assert_array_equal(maps.upsampled(pixels, 1, (4, 3)), pixels[:, :4, :3])
