"""One scene as stored: what is read exactly, and what is refused in which words."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from bitlens.data.dense.assemble import finish_scenes, stack_scenes
from bitlens.data.dense.decode import nearest, read_depth, read_mask, read_scene, shape_for
from bitlens.data.dense.scenes import VOID
from bitlens.errors import BitlensError

HERE = "rooms.parquet row 7"


def stored(array: np.ndarray) -> Image.Image:
    """The array as a PNG that was written and opened again."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return Image.open(io.BytesIO(buffer.getvalue()))


def color(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scene_of(height: int = 4, width: int = 6, seed: int = 0, classes: int = 3):
    draw = np.random.default_rng(seed)
    mask = draw.integers(0, classes, (height, width), dtype=np.uint8)
    depth = draw.integers(700, 9000, (height, width), dtype=np.uint16)
    return read_scene(color(height, width, seed), mask, depth, where=HERE, classes=classes)


def stack(scenes, **options):
    options = {
        "image_size": None,
        "resize_truth": True,
        "memory_limit": 2**20,
        "where": lambda row: f"row {row}",
    } | options
    return stack_scenes(iter(scenes), len(scenes), **options)


def test_a_scene_is_read_as_stored():
    mask = np.array([[0, 1, 255], [39, 2, 0]], np.uint8)
    depth = np.array([[725, 0, 9976], [1, 32767, 65535]], np.uint16)
    pixels = color(2, 3)
    scene = read_scene(stored(pixels), stored(mask), stored(depth), where=HERE, classes=40)
    assert scene.size == (2, 3)
    np.testing.assert_array_equal(np.asarray(scene.image), pixels)
    np.testing.assert_array_equal(scene.mask, mask)
    # 65535 is what cameras write where they measured nothing.
    np.testing.assert_array_equal(scene.depth, [[725, 0, 9976], [1, 32767, 0]])
    assert (scene.mask.dtype, scene.depth.dtype) == (np.uint8, np.int16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_masks_of_any_integers_are_read_exactly(dtype):
    values = np.array([[0, 12], [5, 255]], dtype)
    np.testing.assert_array_equal(read_mask(values, where=HERE, classes=13), [[0, 12], [5, VOID]])
    if dtype in (np.uint8, np.uint16):
        np.testing.assert_array_equal(
            read_mask(stored(values), where=HERE, classes=13), [[0, 12], [5, VOID]]
        )


def test_no_class_has_a_name_in_each_width():
    wide = np.array([[65535, 3]], np.uint16)
    signed = np.array([[-1, 3]], np.int64)
    for mask in (stored(wide), wide, signed):
        np.testing.assert_array_equal(read_mask(mask, where=HERE, classes=4), [[VOID, 3]])


def test_masks_of_one_bit_are_two_classes():
    mask = stored(np.array([[True, False], [False, True]]))
    assert mask.mode == "1"
    np.testing.assert_array_equal(read_mask(mask, where=HERE, classes=2), [[1, 0], [0, 1]])


def test_palette_masks_are_their_numbers():
    mask = Image.fromarray(np.array([[0, 2], [1, 255]], np.uint8))
    mask.putpalette([value for color in range(256) for value in (color, 7, 255 - color)])
    buffer = io.BytesIO()
    mask.save(buffer, format="PNG")
    reread = Image.open(io.BytesIO(buffer.getvalue()))
    assert reread.mode == "P"
    np.testing.assert_array_equal(read_mask(reread, where=HERE, classes=3), [[0, 2], [1, 255]])


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.array([[0, 13]], np.uint8), "label 13 of the mask is beyond the 13 classes"),
        (np.array([[0, 257]], np.uint16), "label 257 of the mask of 16 bits is beyond"),
        (np.array([[0, -2]], np.int64), "label -2 of the mask of 64 bits is beyond"),
        (np.array([[0.0, 1.0]]), "the mask holds float64, not whole class numbers"),
        (np.zeros((2, 2, 3), np.uint8), r"the mask has the shape \(2, 2, 3\)"),
    ],
)
def test_bad_masks_are_refused_by_name(mask, said):
    with pytest.raises(BitlensError, match=f"{HERE}: .*{said}"):
        read_mask(mask, where=HERE, classes=13)


def test_a_rescaled_mask_of_16_bits_is_refused():
    # What an image editor makes of a mask of 8 bits: every value times 257.
    rescaled = stored(np.arange(4, dtype=np.uint16).reshape(2, 2) * 257)
    with pytest.raises(BitlensError, match="label 257 of the mask of 16 bits"):
        read_mask(rescaled, where=HERE, classes=40)
    with pytest.raises(BitlensError, match=r"label 257 .* does not fit in a byte"):
        read_mask(rescaled, where=HERE)


def test_color_masks_and_byte_depths_are_refused():
    with pytest.raises(
        BitlensError, match=f"{HERE}: the mask holds colors .mode RGB.*number of its class"
    ):
        read_mask(stored(color(2, 2)), where=HERE)
    with pytest.raises(BitlensError, match=f"{HERE}: the depth is of mode L; it needs 16 bits"):
        read_depth(stored(np.ones((2, 2), np.uint8)), where=HERE)
    with pytest.raises(BitlensError, match=f"{HERE}: the depth holds uint8; it needs 16 bits"):
        read_depth(np.ones((2, 2), np.uint8), where=HERE)


def test_floats_are_metres_and_what_cannot_be_is_unknown():
    metres = np.array([[0.725, np.nan, np.inf], [-1.0, 2.0006, 0.0]], np.float32)
    np.testing.assert_array_equal(read_depth(metres, where=HERE), [[725, 0, 0], [0, 2001, 0]])
    np.testing.assert_array_equal(read_depth(metres[None], where=HERE)[0], [725, 0, 0])
    tiff = Image.fromarray(metres)
    assert tiff.mode == "F"
    np.testing.assert_array_equal(read_depth(tiff, where=HERE)[0], [725, 0, 0])


@pytest.mark.parametrize(
    "depth",
    [np.zeros((2, 2), np.uint16), np.full((2, 2), 65535, np.uint16), np.full((2, 2), np.nan)],
)
def test_a_depth_of_nowhere_is_refused(depth):
    with pytest.raises(BitlensError, match=f"{HERE}: the depth is unknown in the whole image"):
        read_depth(depth, where=HERE)


def test_a_depth_in_another_unit_is_refused():
    tenths = np.array([[50_000, 7_000]], np.uint16)
    with pytest.raises(BitlensError, match=f"{HERE}: a depth of 50.0 m is farther than 32.767 m"):
        read_depth(tenths, where=HERE)


@pytest.mark.parametrize(
    ("mask", "depth", "kind"),
    [
        (np.zeros((3, 2), np.uint8), None, "mask is 2x3"),
        (None, np.ones((2, 4), np.uint16), "depth is 4x2"),
    ],
)
def test_truth_of_another_size_is_refused(mask, depth, kind):
    with pytest.raises(BitlensError, match=f"{HERE}: the {kind} pixels but its image 3x2"):
        read_scene(color(2, 3), mask, depth, where=HERE)


def test_pictures_that_cannot_be_read_are_named():
    with pytest.raises(BitlensError, match=f"{HERE}: the image cannot be read: more than 8 bits"):
        read_scene(np.ones((2, 2), np.uint16), np.ones((2, 2), np.uint8), None, where=HERE)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(buffer, format="PNG")
    cut = Image.open(io.BytesIO(buffer.getvalue()[:60]))
    with pytest.raises(BitlensError, match=f"{HERE}: the mask cannot be read"):
        read_scene(color(64, 64), cut, None, where=HERE)


@settings(max_examples=50, deadline=None)
@given(
    old=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    new=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_nearest_takes_the_pixel_under_each_center(old, new):
    plane = np.arange(old[0] * old[1], dtype=np.int16).reshape(old)
    expected = [
        [plane[int((y + 0.5) * old[0] / new[0]), int((x + 0.5) * old[1] / new[1])] for x in range(new[1])]
        for y in range(new[0])
    ]  # fmt: skip
    np.testing.assert_array_equal(nearest(plane, new), expected)


def test_the_shorter_side_is_what_is_asked_for():
    assert shape_for((480, 640), 192) == (192, 256)
    assert shape_for((640, 480), 192) == (256, 192)
    assert shape_for((7, 9), None) == (7, 9)
    assert shape_for((100, 1), 1) == (100, 1)


def test_images_shrink_by_means_and_truth_by_nearest():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, ::2] = 200
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    scene = read_scene(pixels, mask, mask.astype(np.uint16) + 1, where=HERE)
    small = scene.resized(2, truth=True)
    # Stripes of one pixel become grey, where a sampled image would be black or white.
    assert (abs(np.asarray(small.image).astype(int) - 100) < 30).all()
    np.testing.assert_array_equal(small.mask, mask[1::2, 1::2])
    np.testing.assert_array_equal(small.depth, mask[1::2, 1::2] + 1)
    judged = scene.resized(2, truth=False)
    assert judged.size == (2, 2)
    np.testing.assert_array_equal(judged.mask, mask)


def test_stacks_hold_every_scene_in_its_place():
    scenes = [scene_of(seed=seed) for seed in range(3)]
    whole = stack(scenes)
    for at, scene in enumerate(scenes):
        np.testing.assert_array_equal(
            whole.images[at].permute(1, 2, 0).numpy(), np.asarray(scene.image)
        )
        np.testing.assert_array_equal(whole.masks[at].numpy(), scene.mask)
        np.testing.assert_array_equal(whole.depths[at].numpy(), scene.depth)
    judged = stack(scenes, image_size=2, resize_truth=False)
    assert (judged.image_size, judged.truth_size) == ((2, 3), (4, 6))


def test_stacks_refuse_what_does_not_fit_together():
    with pytest.raises(BitlensError, match="row 1 is 5x4 pixels but row 0 is 6x4"):
        stack([scene_of(), scene_of(width=5)])
    # Of one shape once resized: good to learn from, but not to be judged on at the stored size.
    pair = [scene_of(), scene_of(8, 12)]
    assert stack(pair, image_size=2).truth_size == (2, 3)
    with pytest.raises(BitlensError, match="row 1 is 12x8 pixels"):
        stack(pair, image_size=2, resize_truth=False)
    bare = read_scene(color(4, 6), np.zeros((4, 6), np.uint8), None, where=HERE)
    with pytest.raises(BitlensError, match="row 1 has no depth, while row 0 has one"):
        stack([scene_of(), bare])
    grey = read_scene(color(4, 6)[..., 0], np.zeros((4, 6), np.uint8), None, where=HERE)
    with pytest.raises(BitlensError, match="row 1 is of mode L but row 0 of mode RGB"):
        stack([bare, grey])
    with pytest.raises(BitlensError, match=r"scenes like row 0 take .* more than the limit"):
        stack([scene_of()], memory_limit=100)
    with pytest.raises(BitlensError, match="0 of 0 scenes"):
        stack([])


def test_splits_refuse_what_does_not_fit_together():
    both, small = stack([scene_of()]), stack([scene_of()], image_size=2)
    masks = stack([read_scene(color(4, 6), np.zeros((4, 6), np.uint8), None, where=HERE)])
    with pytest.raises(BitlensError, match="set: train has 3 channels of 6x4 pixels, test has 3"):
        finish_scenes("set", both, small, classes=("a", "b"))
    with pytest.raises(BitlensError, match="set: one of train and test has depths"):
        finish_scenes("set", both, masks, classes=("a", "b"))
    with pytest.raises(BitlensError, match="set has masks of 1 classes"):
        finish_scenes("set", both, both, classes=("a",))
    flat = stack([read_scene(np.zeros((2, 2, 3), np.uint8), None, np.ones((2, 2)), where=HERE)])
    with pytest.raises(BitlensError, match="all train pixels are equal"):
        finish_scenes("set", flat, flat, classes=())


def test_moments_are_of_the_train_pixels():
    train, test = stack([scene_of(seed=1)]), stack([scene_of(seed=2)])
    data = finish_scenes("set", train, test, classes=("a", "b", "c"), notes=("one", "two"))
    pixels = train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())
    assert (data.note, data.crop, data.image_size) == ("one; two", None, (4, 6))


def test_a_channel_that_never_changes_is_told():
    pixels = color(4, 6)
    pixels[..., 1] = 9
    flat = stack([read_scene(pixels, None, np.ones((4, 6)), where=HERE)])
    data = finish_scenes("set", flat, flat, classes=("a",))
    assert data.std[1] == 1 and data.std[0] < 1
    assert data.note == "channel 1 is constant, its std is taken as 1"
    # Without masks there are no classes to name.
    assert data.classes == ()


@pytest.mark.parametrize("size", [10**6, 10**10])
def test_memory_is_checked_before_it_is_taken(size):
    with pytest.raises(
        BitlensError, match=r"1 scenes like row 0 take .* give a smaller image_size"
    ):
        stack([scene_of()], image_size=size, memory_limit=2**34)


def test_the_way_out_of_several_sizes_is_one_that_works():
    pair = [scene_of(), scene_of(8, 12), scene_of(width=5)]
    # What the messages advise is what `stack` takes.
    with pytest.raises(BitlensError, match=r"row 1 is 12x8 .* row 0 is 6x4; .* give image_size"):
        stack(pair[:2])
    assert len(stack(pair[:2], image_size=2)) == 2
    with pytest.raises(BitlensError, match=r"row 1 is 5x4 .*image_size=4 keeps their aspects"):
        stack([pair[0], pair[2]], image_size=4)
    with pytest.raises(
        BitlensError, match=r"row 1 is 12x8 .* row 0 is 6x4; .* to one size yourself"
    ):
        stack(pair[:2], image_size=2, resize_truth=False)


def test_depths_that_no_prediction_reaches_are_told():
    def depths(*millimetres):
        depth = np.array([millimetres], np.uint16)
        return stack([read_scene(color(1, 4), None, depth, where=HERE)])

    near, far = depths(0, 10_000, 500, 9_000), depths(0, 10_001, 500, 9_000)
    assert finish_scenes("set", near, near, classes=()).note == ""
    said = finish_scenes("set", near, far, classes=("a",), notes=("one",)).note
    assert said == (
        "one; of the known depths, 0% in train and 33.3% in test are beyond 10 m, "
        "where predictions are clamped"
    )


def turned(array: np.ndarray, orientation: int | None, form: str = "PNG") -> Image.Image:
    """The array written with an EXIF orientation and opened again."""
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=form, exif=exif)
    return Image.open(io.BytesIO(buffer.getvalue()))


# What a viewer does, as the standard tells where row 0 and column 0 of the file are to be seen.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_truth_is_turned_with_its_image(orientation, form):
    pixels, mask = color(2, 3), np.arange(6, dtype=np.uint8).reshape(2, 3)
    depth = mask.astype(np.uint16) + 700
    parts = [turned(array, orientation, form) for array in (pixels, mask, depth)]
    scene = read_scene(*parts, where=HERE)
    upright = UPRIGHT[orientation]
    np.testing.assert_array_equal(np.asarray(scene.image), upright(pixels))
    np.testing.assert_array_equal(scene.mask, upright(mask))
    np.testing.assert_array_equal(scene.depth, upright(depth))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_truth_that_does_not_say_how_it_stands_is_refused(form):
    # Half a turn leaves the size as it is: nothing else would tell.
    pixels, mask = color(2, 3), np.arange(6, dtype=np.uint8).reshape(2, 3)
    depth = mask.astype(np.uint16) + 700
    for kind, truth in (
        ("mask", (turned(mask, None), turned(depth, 3))),
        ("depth", (turned(mask, 3), turned(depth, None))),
        ("mask", (mask, None)),
        ("depth", (None, depth)),
    ):
        with pytest.raises(BitlensError, match=f"{HERE}: EXIF turns the image, and the {kind} has"):
            read_scene(turned(pixels, 3, form), *truth, where=HERE)
    # A mask may say that it stands upright, unlike its image.
    scene = read_scene(turned(pixels, 3, form), turned(mask, 1), None, where=HERE)
    np.testing.assert_array_equal(scene.mask, mask)
