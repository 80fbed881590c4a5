from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from bitlens.data.dense.class_list import read_class_list
from bitlens.data.dense.folder import load
from bitlens.errors import BitlensError

HEIGHT, WIDTH = 6, 8
LIMIT = 2**30
COUNTS = {"train": 4, "test": 2}


def save(array: np.ndarray, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def pixels():
    """Images, labels of three classes and 255, and millimetres of each split."""
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in COUNTS.items():
        masks = draw.choice(np.array([0, 1, 2, 255], np.uint8), (count, HEIGHT, WIDTH))
        masks[0, 0, :3] = 0, 1, 2
        arrays[split] = {
            "images": draw.integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8),
            "masks": masks,
            "depths": draw.integers(700, 9999, (count, HEIGHT, WIDTH), dtype=np.uint16),
        }
    return arrays


@pytest.fixture
def grouped(tmp_path, pixels) -> Path:
    """`train/images/0.png` and so on."""
    for split, kinds in pixels.items():
        for kind, arrays in kinds.items():
            for at, array in enumerate(arrays):
                save(array, tmp_path / split / kind / f"{at}.png")
    return tmp_path


@pytest.fixture
def camvid(tmp_path, pixels) -> Path:
    """`train/0.png` and `trainannot/0.png`, with a validation split beside them."""
    for split, kinds in pixels.items():
        for kind, folder in (("images", split), ("masks", f"{split}annot")):
            for at, array in enumerate(kinds[kind]):
                save(array, tmp_path / folder / f"{at}.png")
    save(pixels["test"]["images"][0], tmp_path / "val" / "only.png")
    (tmp_path / "valannot").mkdir()
    return tmp_path


def read(root, **options):
    return load(str(root), **{"memory_limit": LIMIT, **options})


def refused(root, message: str, **options) -> str:
    with pytest.raises(BitlensError, match=message) as caught:
        read(root, **options)
    return str(caught.value)


def test_grouped_round_trip(grouped, pixels):
    data = read(grouped)
    for split, ours in (("train", data.train), ("test", data.test)):
        theirs = pixels[split]
        np.testing.assert_array_equal(ours.images.permute(0, 2, 3, 1).numpy(), theirs["images"])
        np.testing.assert_array_equal(ours.masks.numpy(), theirs["masks"])
        np.testing.assert_array_equal(ours.depths.numpy(), theirs["depths"])
    assert data.name == f"scenes:{grouped}"
    assert data.classes == ("0", "1", "2")
    assert "3 classes" in data.note and data.crop is None


def test_camvid_round_trip(camvid, pixels):
    data = read(camvid)
    np.testing.assert_array_equal(data.train.masks.numpy(), pixels["train"]["masks"])
    np.testing.assert_array_equal(
        data.test.images.permute(0, 2, 3, 1).numpy(), pixels["test"]["images"]
    )
    assert data.train.depths is None and len(data.test) == 2


def test_depth_alone(grouped):
    for split in COUNTS:
        (grouped / split / "masks").rename(grouped / split / "elsewhere")
    data = read(grouped)
    assert data.train.masks is None and data.classes == ()
    assert data.test.depths is not None


def test_suffixes_may_differ_and_other_files_are_passed_over(grouped, pixels):
    images = grouped / "train" / "images"
    Image.open(images / "1.png").save(images / "1.JPG", quality=95)
    (images / "1.png").unlink()
    save(pixels["train"]["masks"][2], grouped / "train" / "masks" / "2.bmp")
    (grouped / "train" / "masks" / "2.png").unlink()
    (grouped / "train" / "masks" / "notes.txt").write_text("none")
    (images / ".hidden.png").write_text("none")
    data = read(grouped)
    assert len(data.train) == 4
    np.testing.assert_array_equal(data.train.masks.numpy(), pixels["train"]["masks"])


def test_image_size_brings_train_truth_with_it(grouped, pixels):
    data = read(grouped, image_size=3)
    assert data.train.image_size == data.train.truth_size == (3, 4)
    assert data.test.image_size == (3, 4) and data.test.truth_size == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(data.test.masks.numpy(), pixels["test"]["masks"])


@pytest.mark.parametrize(
    ("lines", "classes"),
    [
        ("sky\nroad\nVoid", ["sky", "road", 255]),
        ("sky\n\nroad \n unlabelled 2\n", ["sky", "road", 255]),
        ("Void 0\nsky\nroad", [255, "sky", "road"]),
        ("sky\nroad\nVoid 1", ["sky", 255, "road"]),
        ("sky\nUNLABELED\nroad", ["sky", 255, "road"]),
        ("zone 2\nVoid 255\nzone 1\nroad", ["zone 2", "zone 1", "road"]),
        ("\ufeffsky\r\nroad\r\nVoid 2\r\nVoid 7", ["sky", "road", 255]),
    ],
)
def test_class_file(grouped, pixels, lines, classes):
    (grouped / "classes.txt").write_text(lines, encoding="utf-8")
    data = read(grouped)
    assert data.classes == tuple(name for name in classes if name != 255)
    for label, name in enumerate(classes):
        ours = data.train.masks.numpy()[pixels["train"]["masks"] == label]
        assert (ours == (255 if name == 255 else data.classes.index(name))).all()
    assert (data.train.masks.numpy()[pixels["train"]["masks"] == 255] == 255).all()


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_labels_are_counted_around_told_voids(tmp_path_factory, voids):
    lines = [f"Void {at}" if void else f"class {at}" for at, void in enumerate(voids)]
    file = tmp_path_factory.mktemp("lists") / "classes.txt"
    file.write_text("\n".join(lines))
    classes = read_class_list(file)
    assert classes.names == tuple(line for line in lines if not line.startswith("Void"))
    for at, void in enumerate(voids):
        assert classes.table[at] == (255 if void else classes.names.index(f"class {at}"))
    assert (classes.table[len(voids) : 255] == -1).all() and classes.table[255] == 255


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("sky\nsky", "'sky' comes twice"),
        ("sky\nroad\nVoid 300", "label 300 is beyond 255"),
        ("\n".join(map(str, range(256))), "room for 0 to 254"),
        ("road\nVoid 1", "label 2 is beyond the 1 classes of .*classes.txt"),
        ("", "label 2 is beyond the 0 classes"),
        ("sky\nVoid 1\nVoid 2", "1 classes; give it at least two"),
    ],
)
def test_bad_class_files(grouped, lines, message):
    (grouped / "classes.txt").write_text(lines)
    refused(grouped, message)


def test_a_class_file_that_is_no_text(grouped):
    (grouped / "classes.txt").write_bytes(b"\xff\xfe\x00sky")
    refused(grouped, "classes.txt cannot be read as text")


def test_a_label_beyond_the_classes_names_file_and_label(grouped, pixels):
    mask = pixels["test"]["masks"][1].copy()
    mask[3, 3] = 7
    bad = save(mask, grouped / "test" / "masks" / "1.png")
    said = refused(grouped, "label 7 is beyond the 3 classes of the train masks")
    assert str(bad) in said


def test_palette_masks_are_numbers_not_colors(grouped, pixels):
    for at, mask in enumerate(pixels["train"]["masks"]):
        image = Image.frombytes("P", (WIDTH, HEIGHT), mask.tobytes())
        image.putpalette([value for at in range(256) for value in (255 - at, 3 * at % 256, 128)])
        image.save(grouped / "train" / "masks" / f"{at}.png")
    np.testing.assert_array_equal(read(grouped).train.masks.numpy(), pixels["train"]["masks"])


def test_masks_of_16_bits(grouped, pixels):
    for at, mask in enumerate(pixels["train"]["masks"]):
        wide = mask.astype(np.uint16)
        wide[wide == 255] = 65535
        save(wide, grouped / "train" / "masks" / f"{at}.png")
    np.testing.assert_array_equal(read(grouped).train.masks.numpy(), pixels["train"]["masks"])
    wide[0, 0] = 300
    bad = save(wide, grouped / "train" / "masks" / "3.png")
    assert str(bad) in refused(grouped, "label 300 of the mask of 16 bits")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_are_not_stretched(grouped, grey_png, bits):
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 2**bits
    for at in range(COUNTS["train"]):
        (grouped / "train" / "masks" / f"{at}.png").write_bytes(grey_png(labels, bits))
    for at in range(COUNTS["test"]):
        save(np.zeros((HEIGHT, WIDTH), np.uint8), grouped / "test" / "masks" / f"{at}.png")
    data = read(grouped)
    assert len(data.classes) == 2**bits
    assert (data.train.masks.numpy() == labels).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_color_masks_name_the_way_out(grouped, mode):
    bad = grouped / "train" / "masks" / "2.png"
    Image.open(bad).convert(mode).save(bad)
    assert str(bad) in refused(grouped, f"colors .mode {mode}.; save the number of its class")


def test_jpeg_masks_are_refused(grouped):
    (grouped / "train" / "masks" / "2.png").rename(grouped / "train" / "masks" / "2.jpg")
    refused(grouped, r"2.jpg: .jpg does not keep every pixel's value")


def test_two_shades_0_and_255_are_one_class(grouped):
    for split, count in COUNTS.items():
        for at in range(count):
            save(np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255, grouped / split / f"masks/{at}.png")
    refused(grouped, "the class 0 alone .255 is no class.")


def test_masks_without_any_class(grouped):
    for at in range(COUNTS["train"]):
        save(np.full((HEIGHT, WIDTH), 255, np.uint8), grouped / "train" / "masks" / f"{at}.png")
    refused(grouped, "no class at all")


@pytest.mark.parametrize("kind", ["masks", "depths"])
def test_unmatched_files_are_named(grouped, kind):
    folder, images = grouped / "train" / kind, grouped / "train" / "images"
    (folder / "1.png").rename(folder / "1_L.png")
    said = refused(grouped, "by name, without the suffix")
    assert f"{folder} has nothing for 1.png" in said
    assert f"{images} has nothing for 1_L.png" in said


def test_many_unmatched_files_are_counted(grouped, pixels):
    for at in range(10, 18):
        save(pixels["train"]["images"][0], grouped / "train" / "images" / f"{at}.png")
    refused(grouped, "10.png, 11.png, 12.png, 13.png, 14.png and 3 more")


def test_two_images_of_one_name(grouped, pixels):
    save(pixels["train"]["images"][0], grouped / "train" / "images" / "0.bmp")
    refused(grouped, "0.bmp and 0.png have the same name")


@pytest.mark.parametrize("kind", ["mask", "depth"])
def test_image_and_truth_of_different_size(grouped, pixels, kind):
    small = pixels["train"][f"{kind}s"][1][:5, :7]
    save(small, grouped / "train" / f"{kind}s" / "1.png")
    said = refused(grouped, f"the {kind} is 7x5 pixels but its image 8x6")
    assert str(grouped / "train" / "images" / "1.png") in said


def test_scenes_of_different_size(grouped, pixels):
    for kind in ("images", "masks", "depths"):
        save(pixels["train"][kind][1][:5], grouped / "train" / kind / "1.png")
    assert "images/1.png is 8x5 pixels" in refused(grouped, "need one size")


def test_depth_of_nothing_names_the_file(grouped):
    bad = save(np.zeros((HEIGHT, WIDTH), np.uint16), grouped / "test" / "depths" / "0.png")
    assert str(bad) in refused(grouped, "depth is unknown in the whole image")


def test_depth_of_8_bits(grouped, pixels):
    bad = save(pixels["train"]["masks"][0], grouped / "train" / "depths" / "0.png")
    assert str(bad) in refused(grouped, "16 bits of millimetres")


@pytest.mark.parametrize("kind", ["images", "masks", "depths"])
@pytest.mark.parametrize("keep", [0, 20, 60])
def test_truncated_files_are_named(grouped, kind, keep):
    bad = grouped / "train" / kind / "3.png"
    bad.write_bytes(bad.read_bytes()[:keep])
    assert str(bad) in refused(grouped, "cannot be read|not an image")


def test_folders_that_are_not_there(grouped, tmp_path_factory):
    refused(grouped / "nowhere", "is not a folder; scenes:PATH")
    empty = tmp_path_factory.mktemp("empty")
    refused(empty, "needs train/images .* or train with trainannot; it holds nothing")
    (empty / "train").mkdir()
    (empty / "trainannot").mkdir()
    refused(empty, "train holds no images")
    (grouped / "test").rename(grouped / "val")
    refused(grouped, "needs test/images .* it holds train, val")
    (grouped / "train" / "masks").rename(grouped / "masks")
    (grouped / "train" / "depths").rename(grouped / "depths")
    refused(grouped, "has images but neither masks nor depths")


@pytest.mark.parametrize(
    ("split", "kind"), [("train", "masks"), ("test", "masks"), ("test", "depths")]
)
def test_truth_of_one_split_alone(grouped, split, kind):
    (grouped / split / kind).rename(grouped / f"{split} {kind}")
    refused(grouped, "masks for test and none for train|one of train and test has")


def test_what_does_not_fit_is_refused(grouped):
    refused(grouped, "more than the limit of .* image_size", memory_limit=100)


def test_a_file_that_cannot_be_opened_is_named(grouped, monkeypatch):
    bad, opened = grouped / "train" / "depths" / "2.png", Path.open

    def locked(path, *arguments, **options):
        if path == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", locked)
    assert str(bad) in refused(grouped, "2.png cannot be opened: Permission denied")


def test_a_mask_that_does_not_turn_with_its_image_is_named(grouped, pixels):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    save(pixels["train"]["images"][1], grouped / "train" / "images" / "1.png", exif=exif)
    assert str(grouped / "train" / "masks" / "1.png") in refused(grouped, "EXIF turns the image")
