"""The corruptions: seeded, the same in any batch, growing with severity, and what they say they are."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from bitlens.data.corruptions.draws import Draws
from bitlens.data.corruptions.fields import blur, clouds, disc, moved, streak
from bitlens.data.corruptions.table import CORRUPTIONS, SEVERITIES, corrupt
from bitlens.errors import BitlensError

UNSEEDED = {
    *("defocus-blur", "zoom-blur", "brightness", "contrast", "pixelate", "jpeg-compression"),
}
each = pytest.mark.parametrize("name", CORRUPTIONS)


def scenes(n: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Shaded backgrounds with two boxes each: flat places, gradients and edges."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    images = np.empty((n, channels, height, width))
    for image in images:
        slope = draw.uniform(-1, 1, (2, channels, 1, 1))
        image[:] = 110 + 60 * (slope[0] * (y / height - 0.5) + slope[1] * (x / width - 0.5))
        for _ in range(2):
            top, left = draw.integers(0, height - 2), draw.integers(0, width - 2)
            color = draw.integers(20, 220, (channels, 1, 1))
            image[:, top : top + height // 2, left : left + width // 3] = color
    return torch.from_numpy(images.round().clip(0, 255).astype(np.uint8))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).square().mean())


def test_there_are_fifteen_in_four_families() -> None:
    families = [corruption.family for corruption in CORRUPTIONS.values()]
    assert len(families) == 15
    assert {name: families.count(name) for name in families} == {
        "noise": 3,
        "blur": 4,
        "weather": 3,
        "digital": 5,
    }


@each
@pytest.mark.parametrize("shape", [(48, 3, 32, 32), (48, 1, 28, 28), (24, 3, 40, 64)])
def test_images_move_away_with_severity(name: str, shape: tuple[int, int, int, int]) -> None:
    images = scenes(*shape)
    far = [distance(corrupt(images, name, severity), images) for severity in SEVERITIES]
    assert far[0] > 0
    assert all(a < b for a, b in itertools.pairwise(far)), far


@each
@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 2, 5, 9), (2, 3, 1, 1), (0, 3, 6, 6)])
def test_any_size_and_number_of_channels(name: str, shape: tuple[int, int, int, int]) -> None:
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.manual_seed(0))
    before = images.clone()
    for severity in (1, 5):
        changed = corrupt(images, name, severity)
        assert changed.shape == images.shape and changed.dtype == torch.uint8
    assert torch.equal(images, before)


@each
@settings(max_examples=6, deadline=None)
@given(start=st.integers(0, 20), count=st.integers(1, 5), severity=st.sampled_from(SEVERITIES))
def test_an_image_is_the_same_in_any_batch(
    name: str, start: int, count: int, severity: int
) -> None:
    images = scenes(25, 3, 12, 10)
    whole = corrupt(images, name, severity, seed=3)
    part = corrupt(images[start : start + count], name, severity, seed=3, first=start)
    assert torch.equal(part, whole[start : start + count])


@each
def test_the_seed_decides_what_is_random(name: str) -> None:
    images = scenes(4, 3, 16, 16)
    same = torch.equal(corrupt(images, name, 5, seed=0), corrupt(images, name, 5, seed=1))
    assert same == (name in UNSEEDED)
    two = images[:1].expand(2, -1, -1, -1)
    first, second = corrupt(two, name, 5)
    assert torch.equal(first, second) == (name in UNSEEDED)


def test_more_images_than_one_chunk() -> None:
    images = scenes(300, 1, 6, 6)
    whole = corrupt(images, "gaussian-noise", 2)
    assert torch.equal(whole[250:], corrupt(images[250:], "gaussian-noise", 2, first=250))


def test_bad_input_is_explained() -> None:
    images = scenes(1, 3, 8, 8)
    with pytest.raises(BitlensError, match="unknown corruption 'snwo'; did you mean snow"):
        corrupt(images, "snwo", 1)
    for severity in (0, 6):
        with pytest.raises(BitlensError, match=f"severity={severity} of snow"):
            corrupt(images, "snow", severity)
    with pytest.raises(ValueError, match="uint8"):
        corrupt(images.float(), "snow", 1)


def test_streams_of_images_are_their_own() -> None:
    whole = Draws(5, "x", 0, 3).normal(4)
    assert torch.equal(Draws(5, "x", 2, 1).normal(4)[0], whole[2])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(Draws(5, "y", 0, 3).normal(4), whole)
    both = Draws(5, "x", 0, 1)
    first, second = both.uniform(3), both.uniform(3)
    assert not torch.equal(first, second)


# What each of them is, against an independent computation.


def grey(value: int, n: int = 40, side: int = 32) -> Tensor:
    return torch.full((n, 1, side, side), value, dtype=torch.uint8)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_noise_has_its_deviation(severity: int) -> None:
    noise = corrupt(grey(128), "gaussian-noise", severity).double() - 128
    wanted = 255 * CORRUPTIONS["gaussian-noise"].strengths[severity - 1]
    # Some noise of severity 5 is cut off at black and white, 0.7 % of it; rounding adds 1/12.
    assert float(noise.std()) == pytest.approx(wanted, rel=0.03)
    assert abs(float(noise.mean())) < 4 * wanted / math.sqrt(noise.numel())


@pytest.mark.parametrize("value", [40, 160])
def test_shot_noise_has_the_variance_of_counts(value: int) -> None:
    noise = corrupt(grey(value), "shot-noise", 2).double() - value
    photons = 1 / CORRUPTIONS["shot-noise"].strengths[1] ** 2
    assert float(noise.var()) == pytest.approx(255 * value / photons, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0, abs=0.5)


def test_impulse_noise_hits_its_share_and_more_of_the_same() -> None:
    before = torch.zeros(40, 1, 32, 32, dtype=torch.bool)
    for severity, share in zip(SEVERITIES, CORRUPTIONS["impulse-noise"].strengths, strict=True):
        changed = corrupt(grey(128), "impulse-noise", severity)
        hit = changed != 128
        assert set(changed[hit].tolist()) == {0, 255}
        spread = math.sqrt(share * (1 - share) / hit.numel())
        assert abs(float(hit.double().mean()) - share) < 5 * spread
        assert not (before & ~hit).any()
        before = hit


def test_a_blur_is_scipys_convolution() -> None:
    images = scenes(3, 2, 11, 14).double()
    for kernel in (disc(2.7), streak(5.5, torch.tensor([0.4]).double())):
        one = kernel[0, 0] / kernel.sum()
        wanted = [
            [scipy.ndimage.convolve(p, one.numpy(), mode="nearest") for p in i] for i in images
        ]
        torch.testing.assert_close(blur(images, kernel), torch.tensor(np.array(wanted)))


def test_a_disc_has_its_area_and_a_streak_its_direction() -> None:
    assert float(disc(6.0).sum()) == pytest.approx(math.pi * 6**2, rel=0.01)
    angle = torch.tensor([0.0, math.pi / 2, math.pi / 4], dtype=torch.float64)
    flat, steep, slant = streak(6.0, angle)[:, 0]
    row = torch.tensor([0.0, 1, 1, 1, 1, 1, 1, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(flat[4], row)
    torch.testing.assert_close(steep, flat.T)
    assert slant[4 + 2, 4 + 2] == pytest.approx(1) and slant[4 + 2, 4 - 2] == 0


def test_blurs_leave_a_flat_image_flat() -> None:
    for name in ("defocus-blur", "glass-blur", "motion-blur", "zoom-blur", "elastic-transform"):
        assert torch.equal(corrupt(grey(77, n=3), name, 5), grey(77, n=3))


def test_moving_by_whole_pixels_is_indexing() -> None:
    images = scenes(2, 3, 7, 9).double()
    down = torch.tensor([1.0, -2.0], dtype=torch.float64)[:, None, None]
    found = moved(images, down, -3 * torch.ones(1, 1, 1, dtype=torch.float64))
    for image, rows, out in zip(images, (1, -2), found, strict=True):
        y, x = np.arange(7) + rows, np.arange(9) - 3
        wanted = image[:, y.clip(0, 6)][:, :, x.clip(0, 8)]
        torch.testing.assert_close(out, wanted)


def test_zooming_enlarges_around_the_middle() -> None:
    image = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    image[0, 0, 16, 24] = 255
    changed = corrupt(image, "zoom-blur", 5)[0, 0].double()
    rows, columns = changed.nonzero().unbind(1)
    assert set(rows.tolist()) <= {15, 16, 17}
    # The pixel 8 right of the middle travels; enlarged 1.45 times, its edge fades out before 9 * 1.45.
    assert int(columns.min()) == 24 and int(columns.max()) == 16 + math.floor(9 * 1.45)


def test_brightness_and_contrast_by_hand() -> None:
    images = scenes(3, 3, 9, 9)
    values = images.numpy().astype(float)
    bright = np.clip(np.round(values + 255 * 0.19), 0, 255)
    assert np.array_equal(corrupt(images, "brightness", 3).numpy(), bright)
    means = values.mean((2, 3), keepdims=True)
    flat = values + 0.57 * (means - values)
    assert np.abs(corrupt(images, "contrast", 3).numpy() - flat).max() <= 0.5 + 1e-9


def test_pixelate_shows_the_means_of_blocks() -> None:
    images = scenes(2, 3, 32, 24)
    means = images.double().unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5))
    wanted = means.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert (corrupt(images, "pixelate", 5).double() - wanted).abs().max() <= 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_stores(channels: int) -> None:
    images = scenes(2, channels, 20, 20)
    changed = corrupt(images, "jpeg-compression", 4)
    for image, found in zip(images, changed, strict=True):
        picture = image[0].numpy() if channels == 1 else image.permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(picture).save(file, format="JPEG", quality=23)
        stored = np.asarray(Image.open(file))
        assert np.array_equal(found[0] if channels == 1 else found.permute(1, 2, 0), stored)


@pytest.mark.parametrize("name", ["snow", "brightness"])
def test_what_only_adds_light_darkens_nothing(name: str) -> None:
    images = scenes(8, 3, 24, 24)
    levels = [images, *(corrupt(images, name, severity) for severity in SEVERITIES)]
    for darker, brighter in itertools.pairwise(levels):
        assert (brighter >= darker).all()


def test_frost_grows_from_the_edges() -> None:
    change = corrupt(grey(0, n=60), "frost", 3).double().mean((0, 1))
    assert float(change[:4].mean()) > 2 * float(change[14:18, 14:18].mean()) > 0


def test_clouds_fill_their_range_and_are_smooth() -> None:
    found = clouds(Draws(0, "x", 0, 20), 32, 48)
    assert found.shape == (20, 1, 32, 48)
    torch.testing.assert_close(found.amin((1, 2, 3)), torch.zeros(20).double())
    torch.testing.assert_close(found.amax((1, 2, 3)), torch.ones(20).double())
    steps = found.diff(dim=3).square().mean()
    shuffled = found.flatten(2)[:, :, torch.randperm(32 * 48, generator=torch.manual_seed(0))]
    assert float(steps) < 0.2 * float(shuffled.diff(dim=2).square().mean())
