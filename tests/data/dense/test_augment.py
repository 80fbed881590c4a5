"""Image, mask and depth move together, by the same draws, whatever else is in the batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.data.augment import resize_boxes
from bitlens.data.dense.augment import (
    LIGHT,
    MAX_SCALE,
    SCENE_AUGMENTATIONS,
    TINT,
    draw_parts,
    jitter,
    move_truth,
)
from bitlens.data.dense.scenes import VOID, Truth

shapes = st.tuples(
    st.integers(1, 5), st.sampled_from([1, 3]), st.integers(1, 12), st.integers(1, 12)
)
seeds = st.integers(0, 2**31)
moving = pytest.mark.parametrize("name", ["flip", "scale-crop", "scale-crop-color"])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scenes(n: int, c: int, h: int, w: int, seed: int = 0) -> tuple[torch.Tensor, Truth]:
    draw = seeded(seed)
    images = torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8, generator=draw)
    mask = torch.randint(0, 5, (n, h, w), generator=draw)
    mask[torch.rand((n, h, w), generator=draw) < 0.2] = VOID
    depth = 10 * torch.rand((n, h, w), generator=draw)
    depth[torch.rand((n, h, w), generator=draw) < 0.2] = 0
    return images, Truth(mask, depth)


def ramp(n: int, h: int, w: int) -> tuple[torch.Tensor, Truth]:
    """Images whose two channels are their own coordinates, and the same as mask and depth."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    images = torch.stack([y, x]).to(torch.uint8).expand(n, -1, -1, -1).contiguous()
    return images, Truth((y * w + x).expand(n, h, w), (y * w + x + 1.0).expand(n, h, w))


@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=seeds)
def test_shapes_types_and_values_stay_what_they_were(shape, seed):
    images, truth = scenes(*shape, seed=seed)
    for name, change in SCENE_AUGMENTATIONS.items():
        got, known = change(images, truth, seeded(seed))
        assert (got.shape, got.dtype) == (images.shape, torch.uint8), name
        assert (known.mask.shape, known.mask.dtype) == (truth.mask.shape, torch.int64)
        assert (known.depth.shape, known.depth.dtype) == (truth.depth.shape, torch.float32)
        # Nothing is interpolated: each image shows classes of its own only, and void stays void.
        for before, after in zip(truth.mask, known.mask, strict=True):
            assert set(after.unique().tolist()) <= set(before.unique().tolist())


@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=seeds)
def test_flip_equals_the_loop(shape, seed):
    images, truth = scenes(*shape, seed=seed)
    got, known = SCENE_AUGMENTATIONS["flip"](images, truth, seeded(seed))
    mirrored = torch.rand(len(images), generator=seeded(seed)) < 0.5
    for at, mirror in enumerate(mirrored.tolist()):
        for before, after in (
            (images[at], got[at]),
            (truth.mask[at], known.mask[at]),
            (truth.depth[at], known.depth[at]),
        ):
            assert torch.equal(after, before.flip(-1) if mirror else before)


def test_flipping_twice_changes_nothing():
    images, truth = scenes(6, 3, 7, 9)
    once, known = SCENE_AUGMENTATIONS["flip"](images, truth, seeded(3))
    assert not torch.equal(once, images)
    twice, again = SCENE_AUGMENTATIONS["flip"](once, known, seeded(3))
    assert torch.equal(twice, images)
    assert torch.equal(again.mask, truth.mask) and torch.equal(again.depth, truth.depth)


@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=seeds)
def test_scaled_truth_equals_the_loop_over_its_parts(shape, seed):
    _, truth = scenes(*shape, seed=seed)
    n, _, h, w = shape
    boxes = draw_parts(n, h, w, seeded(seed))
    mirrored = torch.rand(n, generator=seeded(seed + 1)) < 0.5
    known = move_truth(truth, boxes, mirrored)
    for at, (top, left, high, wide) in enumerate(boxes.tolist()):
        part = (slice(top, top + high), slice(left, left + wide))
        scale = (h / high * w / wide) ** 0.5
        for before, after in (
            (truth.mask[at][part].double(), known.mask[at].double()),
            (truth.depth[at][part].double() / scale, known.depth[at].double()),
        ):
            slow = F.interpolate(before[None, None], size=(h, w), mode="nearest-exact")[0, 0]
            slow = slow.flip(1) if mirrored[at] else slow
            torch.testing.assert_close(after, slow, rtol=1e-6, atol=0)


def test_images_and_truth_show_the_same_place():
    h, w = 48, 64
    images, truth = ramp(40, h, w)
    got, known = SCENE_AUGMENTATIONS["scale-crop"](images, truth, seeded(1))
    rows, columns = known.mask // w, known.mask % w
    # A pixel's image is where its center is, its truth the stored pixel nearest to that; the image
    # is rounded to whole numbers on top.
    assert (got[:, 0] - rows).abs().max() <= 1
    assert (got[:, 1] - columns).abs().max() <= 1
    # Without bias: a shift of half a pixel between the two would show here.
    assert abs((got[:, 0] - rows).double().mean()) < 0.05
    assert abs((got[:, 1] - columns).double().mean()) < 0.05
    # Some are mirrored and some are not, and the image knows as well as the truth.
    falling = columns[:, 0, 0] > columns[:, 0, -1]
    assert torch.equal(falling, got[:, 1, 0, 0] > got[:, 1, 0, -1])
    assert 0 < falling.sum() < len(falling)
    # Mask and depth are of one place exactly.
    scale = (known.mask + 1) / known.depth
    assert (scale.flatten(1).amax(1) / scale.flatten(1).amin(1) - 1).abs().max() < 1e-5
    assert scale.min() >= 1 - 1e-6 and scale.max() <= MAX_SCALE * 1.02
    assert scale.flatten(1).mean(1).std() > 0.1


def test_an_image_of_its_own_mask_keeps_its_borders():
    # Blocks of 8 pixels; away from their borders, image and mask must say the same.
    blocks = torch.randint(0, 200, (8, 6, 8), generator=seeded(2))
    mask = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    images = mask[:, None].to(torch.uint8)
    for name in ("flip", "scale-crop"):
        got, known = SCENE_AUGMENTATIONS[name](images, Truth(mask, None), seeded(4))
        inner = known.mask[:, None].double()
        same = F.max_pool2d(inner, 3, 1, 1) == -F.max_pool2d(-inner, 3, 1, 1)
        assert same.double().mean() > 0.4
        assert torch.equal(got[same].long(), known.mask[:, None][same]), name


def test_the_whole_part_changes_nothing_and_unknown_depth_stays_unknown():
    images, truth = scenes(4, 3, 7, 5)
    whole = torch.tensor([[0, 0, 7, 5]] * 4)
    still = torch.zeros(4, dtype=torch.bool)
    known = move_truth(truth, whole, still)
    assert torch.equal(known.mask, truth.mask) and torch.equal(known.depth, truth.depth)
    assert torch.equal(resize_boxes(images, whole, still), images)
    nowhere = Truth(None, torch.zeros(4, 7, 5))
    _, moved = SCENE_AUGMENTATIONS["scale-crop"](images, nowhere, seeded())
    assert moved.mask is None and not moved.depth.any()


def test_parts_are_inside_and_of_every_scale_and_place():
    parts = draw_parts(20_000, 96, 128, seeded()).double()
    top, left, high, wide = parts.unbind(1)
    assert top.min() == 0 and left.min() == 0
    assert (top + high).max() == 96 and (left + wide).max() == 128
    scale = 96 / high
    assert scale.min() >= 1 and scale.max() <= MAX_SCALE * 1.01
    # Uniform between 1 and 1.5, as is the place of what fits.
    assert abs(scale.mean() - (1 + MAX_SCALE) / 2) < 0.005
    assert abs(scale.std() - (MAX_SCALE - 1) / 12**0.5) < 0.005
    roomy = high < 80
    assert abs((top / (96 - high))[roomy].mean() - 0.5) < 0.01
    assert (96 / high / (128 / wide) - 1).abs().max() < 0.02


@moving
def test_the_same_generator_gives_the_same(name):
    images, truth = scenes(4, 3, 9, 12)
    one, two, other = (SCENE_AUGMENTATIONS[name](images, truth, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1].mask, two[1].mask) and torch.equal(one[1].depth, two[1].depth)
    assert not torch.equal(one[0], other[0])


@moving
def test_no_scene_depends_on_its_neighbours(name):
    images, truth = scenes(6, 3, 9, 12)
    others, others_truth = scenes(6, 3, 9, 12, seed=1)
    others[2:4], others_truth.mask[2:4] = images[2:4], truth.mask[2:4]
    others_truth.depth[2:4] = truth.depth[2:4]
    one = SCENE_AUGMENTATIONS[name](images, truth, seeded(7))
    two = SCENE_AUGMENTATIONS[name](others, others_truth, seeded(7))
    assert torch.equal(one[0][2:4], two[0][2:4])
    assert torch.equal(one[1].mask[2:4], two[1].mask[2:4])
    assert torch.equal(one[1].depth[2:4], two[1].depth[2:4])


def test_none_gives_back_what_it_got_and_draws_nothing():
    images, truth = scenes(2, 3, 4, 4)
    generator = seeded()
    before = generator.get_state()
    got, known = SCENE_AUGMENTATIONS["none"](images, truth, generator)
    assert got is images and known is truth
    assert torch.equal(generator.get_state(), before)


def test_color_leaves_the_truth_of_scale_crop():
    images, truth = scenes(4, 3, 9, 12)
    plain, known = SCENE_AUGMENTATIONS["scale-crop"](images, truth, seeded(8))
    colored, same = SCENE_AUGMENTATIONS["scale-crop-color"](images, truth, seeded(8))
    assert torch.equal(known.mask, same.mask) and torch.equal(known.depth, same.depth)
    assert not torch.equal(plain, colored)


def test_jitter_stays_within_its_bounds():
    flat = torch.full((4000, 3, 2, 2), 100, dtype=torch.uint8)
    got = jitter(flat, seeded()).double()
    # A flat image has each pixel of a channel alike, and moves by brightness, tint and contrast alone.
    assert torch.equal(got[..., :1, :1].expand_as(got), got)
    gain = got.mean((1, 2, 3)) / 100
    assert gain.min() >= (1 - LIGHT) * (1 - TINT) - 0.01
    assert gain.max() <= (1 + LIGHT) * (1 + TINT) + 0.01
    assert gain.min() < 1 - 0.8 * LIGHT and gain.max() > 1 + 0.8 * LIGHT
    assert abs(gain.mean() - 1) < 0.02
    # Contrast about the image's own mean: with two tones, their distance changes as told.
    tones = torch.tensor([100, 140], dtype=torch.uint8).expand(4000, 1, 1, 2).contiguous()
    low, high = jitter(tones, seeded()).double().flatten(1).unbind(1)
    ratio = (high - low) / (high + low) / (40 / 240)
    assert abs(ratio.min() - (1 - LIGHT)) < 0.05 and abs(ratio.max() - (1 + LIGHT)) < 0.05


def test_truth_of_another_size_is_refused():
    images, truth = scenes(2, 3, 4, 4)
    for name in ("flip", "scale-crop"):
        with pytest.raises(ValueError, match=r"\(2, 4, 4\) cannot move with .* \(2, 3, 4, 5\)"):
            SCENE_AUGMENTATIONS[name](F.pad(images, (0, 1)), truth, seeded())
