from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.data.augment import (
    AUGMENTATIONS,
    PAD,
    draw_boxes,
    draw_flips,
    draw_offsets,
    resize_boxes,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(n: int, c: int, h: int, w: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8, generator=seeded(n + h + w))


def slow_crop(image: np.ndarray, top: int, left: int) -> np.ndarray:
    """Pixel by pixel: what lies outside the image is zero."""
    _, h, w = image.shape
    out = np.zeros_like(image)
    for y, x in itertools.product(range(h), range(w)):
        source_y, source_x = y + top - PAD, x + left - PAD
        if 0 <= source_y < h and 0 <= source_x < w:
            out[:, y, x] = image[:, source_y, source_x]
    return out


shapes = st.tuples(st.integers(1, 6), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**31))
def test_flip_crop_equals_the_slow_loop(shape, seed):
    images = images_of(*shape)
    generator = seeded(seed)
    mirrored = draw_flips(len(images), generator)
    top, left = draw_offsets(len(images), generator)
    slow = [
        slow_crop(image[:, :, ::-1] if mirror else image, y, x)
        for image, mirror, y, x in zip(
            images.numpy(), mirrored.tolist(), top.tolist(), left.tolist(), strict=True
        )
    ]
    fast = AUGMENTATIONS["flip-crop"](images, seeded(seed))
    assert fast.dtype == torch.uint8
    np.testing.assert_array_equal(fast.numpy(), np.stack(slow))


@settings(max_examples=20, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**31))
def test_crop_and_flip_equal_the_slow_loop(shape, seed):
    images = images_of(*shape)
    top, left = draw_offsets(len(images), seeded(seed))
    slow = [
        slow_crop(image, y, x)
        for image, y, x in zip(images.numpy(), top.tolist(), left.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(
        AUGMENTATIONS["crop"](images, seeded(seed)).numpy(), np.stack(slow)
    )
    mirrored = draw_flips(len(images), seeded(seed)).tolist()
    slow = [
        image[:, :, ::-1] if mirror else image
        for image, mirror in zip(images.numpy(), mirrored, strict=True)
    ]
    np.testing.assert_array_equal(
        AUGMENTATIONS["flip"](images, seeded(seed)).numpy(), np.stack(slow)
    )


def test_none_returns_the_images_and_draws_nothing():
    images, generator = images_of(3, 3, 8, 8), seeded()
    before = generator.get_state()
    assert torch.equal(AUGMENTATIONS["none"](images, generator), images)
    assert torch.equal(generator.get_state(), before)


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**31))
def test_resized_crop_equals_cutting_and_resizing_each_box(shape, seed):
    images = images_of(*shape)
    n, _, h, w = shape
    generator = seeded(seed)
    boxes = draw_boxes(n, h, w, generator)
    mirrored = draw_flips(n, generator)
    fast = AUGMENTATIONS["resized-crop"](images, seeded(seed))
    for image, (top, left, high, wide), mirror, got in zip(
        images, boxes.tolist(), mirrored.tolist(), fast, strict=True
    ):
        box = image[None, :, top : top + high, left : left + wide].double()
        slow = F.interpolate(box, size=(h, w), mode="bilinear", align_corners=False)[0]
        slow = slow.flip(2) if mirror else slow
        # float32 positions may land a value near .5 on the other side of the rounding.
        assert (got.double() - slow).abs().max() <= 0.5 + 1e-2


def test_a_box_of_the_whole_image_changes_nothing():
    images = images_of(4, 3, 7, 5)
    boxes = torch.tensor([[0, 0, 7, 5]] * 4)
    still = torch.zeros(4, dtype=torch.bool)
    assert torch.equal(resize_boxes(images, boxes, still), images)
    assert torch.equal(resize_boxes(images, boxes, ~still), images.flip(3))


def test_boxes_are_inside_and_cover_the_promised_areas_and_ratios():
    boxes = draw_boxes(20_000, 64, 64, seeded()).double()
    top, left, h, w = boxes.unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (h >= 1).all() and (w >= 1).all()
    assert (top + h <= 64).all() and (left + w <= 64).all()
    area, ratio = h * w / 64**2, w / h
    assert area.min() < 0.1 and area.max() > 0.97
    # Sides are whole pixels, so both limits blur by up to one pixel in the smallest side.
    assert area.min() > 0.07 and ratio.min() > 0.70 and ratio.max() < 1.43
    # Area is uniform; large areas with an extreme ratio do not fit and are drawn again.
    assert 0.46 < area.mean() < 0.54
    assert abs(torch.log(ratio).mean()) < 0.02
    corner = top[h < 40] / (64 - h[h < 40])
    assert abs(corner.mean() - 0.5) < 0.02


def test_a_narrow_image_gets_the_largest_middle_box():
    boxes = draw_boxes(50, 100, 1, seeded())
    assert ((boxes[:, 3] == 1) & (boxes[:, 2] <= 2)).all()
    assert (boxes[:, 0] + boxes[:, 2] <= 100).all()


def test_draws_are_uniform():
    top, left = draw_offsets(90_000, seeded())
    for corner in (top, left):
        counts = torch.bincount(corner, minlength=2 * PAD + 1)
        assert len(counts) == 2 * PAD + 1
        # Five standard deviations of a binomial with n = 90,000 and p = 1/9.
        assert (counts - 10_000).abs().max() < 5 * (90_000 * (1 / 9) * (8 / 9)) ** 0.5
    assert abs(torch.corrcoef(torch.stack([top, left]).double())[0, 1]) < 0.02
    assert abs(draw_flips(90_000, seeded()).double().mean() - 0.5) < 0.01


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_state_gives_the_same_images_and_leaves_the_input_alone(name):
    images = images_of(16, 3, 12, 12)
    before = images.clone()
    first = AUGMENTATIONS[name](images, seeded(7))
    second = AUGMENTATIONS[name](images, seeded(7))
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.shape == images.shape and first.dtype == torch.uint8
    if name != "none":
        assert not torch.equal(first, AUGMENTATIONS[name](images, seeded(8)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_does_not_depend_on_its_neighbors(name):
    images = images_of(8, 3, 12, 12)
    others = images.clone()
    others[4:] = 0
    whole = AUGMENTATIONS[name](images, seeded(3))
    changed = AUGMENTATIONS[name](others, seeded(3))
    assert torch.equal(whole[:4], changed[:4])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_memory_format_does_not_matter(name):
    images = images_of(8, 3, 12, 12)
    other = images.contiguous(memory_format=torch.channels_last)
    same = AUGMENTATIONS[name](other, seeded(3))
    assert torch.equal(same, AUGMENTATIONS[name](images, seeded(3)))
