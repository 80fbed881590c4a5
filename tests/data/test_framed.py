"""Whole pictures in a net's frame: nothing cropped, the aspect kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.data.pixels import read_framed
from bitlens.errors import BitlensError


def stored(path: Path, height: int, width: int, mode: str = "RGB") -> np.ndarray:
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    image.save(path)
    return np.asarray(image)


def test_a_picture_of_the_nets_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = stored(tmp_path / "a.png", 13, 17)
    framed = read_framed(tmp_path / "a.png", height=13, width=17, channels=3)
    np.testing.assert_array_equal(framed.pixels, pixels.transpose(2, 0, 1))
    assert framed.inside == (13, 17) and framed.picture.size == (17, 13)


@pytest.mark.parametrize(
    ("picture", "inside"),
    [((24, 64), (12, 32)), ((48, 32), (24, 16)), ((6, 16), (12, 32)), ((100, 200), (16, 32))],
)
def test_another_shape_is_filled_up_at_the_right_or_the_bottom(
    tmp_path: Path, picture: tuple[int, int], inside: tuple[int, int]
) -> None:
    stored(tmp_path / "a.png", *picture)
    framed = read_framed(tmp_path / "a.png", height=24, width=32, channels=3)
    assert framed.pixels.shape == (3, 24, 32) and framed.inside == inside
    assert framed.picture.size == picture[::-1]
    whole = framed.picture.resize(inside[::-1], Image.Resampling.BILINEAR)
    rows, columns = inside
    expected = np.asarray(whole).transpose(2, 0, 1)
    np.testing.assert_array_equal(framed.pixels[:, :rows, :columns], expected)
    below, right = framed.pixels[:, rows:, :columns], framed.pixels[:, :rows, columns:]
    np.testing.assert_array_equal(below, np.broadcast_to(expected[:, -1:], below.shape))
    np.testing.assert_array_equal(right, np.broadcast_to(expected[:, :, -1:], right.shape))


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("RGB", 1), ("L", 1)])
def test_grey_and_color(tmp_path: Path, mode: str, channels: int) -> None:
    stored(tmp_path / "a.png", 8, 8, mode)
    framed = read_framed(tmp_path / "a.png", height=8, width=8, channels=channels)
    grey = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    np.testing.assert_array_equal(framed.pixels, np.repeat(grey[None], channels, axis=0))


def test_a_hair_has_no_column_left(tmp_path: Path) -> None:
    stored(tmp_path / "hair.png", 200, 1)
    with pytest.raises(BitlensError, match=r"hair\.png: 1x200 pixels leave no row or column"):
        read_framed(tmp_path / "hair.png", height=16, width=16, channels=3)
