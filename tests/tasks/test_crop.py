"""The judged window: the crop of NYU-Depth-v2 exactly, and shares of whole pixels at every size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitlens.data.dense.scenes import Truth
from bitlens.tasks.crop import check_crop, crop_truth, crop_window

NYU = (45 / 480, 471 / 480, 41 / 640, 601 / 640)


def test_the_crop_of_nyu_depth() -> None:
    assert crop_window(NYU, (480, 640)) == (slice(45, 471), slice(41, 601))


def test_at_other_sizes_edges_go_to_the_nearest_pixel_edge() -> None:
    """192 rows: 18 and 188.4; 256 columns: 16.4 and 240.4."""
    assert crop_window(NYU, (192, 256)) == (slice(18, 188), slice(16, 240))
    assert crop_window((0.5, 1.0, 0.1, 0.9), (3, 10)) == (slice(2, 3), slice(1, 9))


def test_none_keeps_everything() -> None:
    assert crop_window(None, (7, 9)) == (slice(0, 7), slice(0, 9))


@given(st.data(), st.integers(1, 5000))
def test_shares_of_whole_pixels_come_back_exactly(data: st.DataObject, size: int) -> None:
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first + 1, size))
    shares = (first / size, last / size)
    assert crop_window((*shares, 0, 1), (size, 1)) == (slice(first, last), slice(0, 1))
    assert crop_window((0, 1, *shares), (1, size)) == (slice(0, 1), slice(first, last))


def test_masks_and_depths_are_cropped_alike() -> None:
    mask = torch.arange(48).reshape(1, 6, 8)
    truth = crop_truth(Truth(mask, mask.float()), (1 / 6, 5 / 6, 2 / 8, 1))
    assert torch.equal(truth.mask, mask[:, 1:5, 2:])
    assert torch.equal(truth.depth, mask[:, 1:5, 2:].float())


@pytest.mark.parametrize(
    "crop", [(0.5, 0.5, 0, 1), (0, 1, 0.7, 0.2), (-0.1, 1, 0, 1), (0, 1.1, 0, 1)]
)
def test_impossible_shares_are_refused(crop: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="crop="):
        check_crop(crop)


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing of 4x4 pixels"):
        crop_window((0.4, 0.6, 0, 1), (4, 4))
