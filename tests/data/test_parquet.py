from __future__ import annotations

import io

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bitlens.data import load
from bitlens.data.images import ImageSet
from bitlens.errors import BitlensError


@pytest.fixture
def two_splits(tmp_path, random_images, write_parquet):
    """A folder with two train files and one test file; returns it with the train images."""
    images = random_images(20)
    write_parquet(tmp_path / "train-00000-of-00002.parquet", images[:12], [0, 1] * 6)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", images[12:], [1, 0] * 4)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", random_images(6, seed=1), [0, 1] * 3)
    return tmp_path, images


def stored(images: ImageSet) -> np.ndarray:
    return images.images.permute(0, 2, 3, 1).numpy()


def test_round_trip(two_splits):
    folder, images = two_splits
    data = load(f"parquet:{folder}")
    assert isinstance(data.train, ImageSet)
    np.testing.assert_array_equal(stored(data.train), images)
    assert data.train.labels.tolist() == [0, 1] * 6 + [1, 0] * 4
    assert data.classes == ("cat", "dog")
    assert (len(data.test), data.channels, data.image_size, data.note) == (6, 3, 8, "")
    assert data.name == f"parquet:{folder}"


def test_equals_load_dataset(two_splits, own_caches):
    folder, _ = two_splits
    files = {"train": f"{folder}/train-*.parquet", "test": f"{folder}/test-*.parquet"}
    theirs = datasets.load_dataset("parquet", data_files=files, cache_dir=str(own_caches))
    data = load(f"parquet:{folder}")
    for split, ours in (("train", data.train), ("test", data.test)):
        pixels = np.stack([np.asarray(image) for image in theirs[split]["image"]])
        np.testing.assert_array_equal(stored(ours), pixels)
        assert ours.labels.tolist() == list(theirs[split]["label"])


def test_files_that_datasets_wrote_itself(tmp_path, random_images):
    images = random_images(4, channels=1)
    features = datasets.Features(
        img=datasets.Image(), fine_label=datasets.ClassLabel(names=["a", "b"])
    )
    columns = {"img": [Image.fromarray(image) for image in images], "fine_label": [0, 1, 1, 0]}
    for split in ("train", "validation"):
        datasets.Dataset.from_dict(columns, features=features).to_parquet(
            tmp_path / f"{split}-0.parquet"
        )
    data = load(f"parquet:{tmp_path}")
    np.testing.assert_array_equal(data.train.images[:, 0].numpy(), images)
    assert data.test.labels.tolist() == [0, 1, 1, 0]
    assert data.classes == ("a", "b")


@pytest.mark.parametrize("columns", [("image", "label"), ("img", "fine_label"), ("img", "labels")])
def test_plain_columns_get_numbers_as_classes(tmp_path, random_images, write_parquet, columns):
    for split, labels in (("train", [2, 0, 1, 2]), ("val", [0, 1, 0, 1])):
        images = random_images(4)
        write_parquet(tmp_path / f"{split}.parquet", images, labels, names=None, columns=columns)
    data = load(f"parquet:{tmp_path}")
    assert data.classes == ("0", "1", "2")
    assert data.test.labels.tolist() == [0, 1, 0, 1]


def test_a_single_file_is_split_by_seed_and_class(tmp_path, random_images, write_parquet):
    images = random_images(50)
    labels = [0] * 30 + [1] * 20
    file = write_parquet(tmp_path / "all.parquet", images, labels)
    data, again = load(f"parquet:{file}"), load(f"parquet:{file}")
    assert torch.bincount(data.train.labels).tolist() == [24, 16]
    assert torch.bincount(data.test.labels).tolist() == [6, 4]
    assert torch.equal(data.test.images, again.test.images)
    assert "80 %" in data.note and "seed 0" in data.note
    together = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    for part in (data.train, data.test):
        for image, label in zip(stored(part), part.labels.tolist(), strict=True):
            assert together.pop(np.ascontiguousarray(image).tobytes()) == label
    assert not together


def test_image_size_resizes_and_crops_the_middle(tmp_path, random_images, write_parquet):
    middle = random_images(1)[0]
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = middle
    tall = np.zeros((24, 8, 3), np.uint8)
    tall[8:16] = middle
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [wide, tall], [0, 1])
    data = load(f"parquet:{tmp_path}", image_size=8)
    np.testing.assert_array_equal(stored(data.train), [middle, middle])
    half = load(f"parquet:{tmp_path}", image_size=4).train
    assert half.images.shape == (2, 3, 4, 4)
    # Bilinear with antialiasing keeps the mean, up to what the dark sides bleed into the edges.
    assert abs(half.images[:, :, :, 1:3].double().mean() - middle[:, 2:6].mean()) < 12


def test_a_few_grey_images_become_color_and_are_noted(tmp_path, random_images, write_parquet):
    color, grey = random_images(3), random_images(1, channels=1)[0]
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [grey, *color], [0, 1, 0, 1])
    data = load(f"parquet:{tmp_path}")
    assert data.channels == 3
    np.testing.assert_array_equal(stored(data.train)[0], np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(stored(data.train)[1:], color)
    assert "1 of 4 images were grey" in data.note


def test_palette_and_alpha_become_color(tmp_path, random_images, write_parquet):
    pixels = random_images(1)[0]
    alpha = Image.fromarray(pixels).convert("RGBA")
    alpha.putalpha(7)
    palette = Image.fromarray(pixels).quantize(8)
    encoded = []
    for image in (alpha, palette):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", encoded, [0, 1])
    data = load(f"parquet:{tmp_path}")
    np.testing.assert_array_equal(stored(data.train)[0], pixels)
    np.testing.assert_array_equal(stored(data.train)[1], np.asarray(palette.convert("RGB")))


def test_a_constant_channel_is_noted(tmp_path, random_images, write_parquet):
    images = random_images(4)
    images[..., 2] = 9
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", images, [0, 1, 0, 1])
    data = load(f"parquet:{tmp_path}")
    assert data.std[2] == 1.0 and data.std[0] != 1.0
    assert "channel 2 is constant" in data.note


def refused(folder, message: str) -> str:
    with pytest.raises(BitlensError, match=message) as caught:
        load(f"parquet:{folder}")
    return str(caught.value)


def test_mixed_sizes_name_the_row_and_both_sizes(two_splits, random_images, write_parquet):
    folder, images = two_splits
    odd = [*images[12:15], random_images(1, size=9)[0]]
    write_parquet(folder / "train-00001-of-00002.parquet", odd, [0, 1, 0, 1])
    said = refused(folder, r"9x9 pixels but .*8x8; give image_size")
    assert "train-00001-of-00002.parquet row 3" in said
    assert load(f"parquet:{folder}", image_size=8).train.images.shape == (16, 3, 8, 8)


def test_bad_images_are_named(two_splits, random_images, write_parquet):
    folder, images = two_splits
    file = folder / "train-00001-of-00002.parquet"
    for bad, message in (
        (None, "is missing"),
        (b"no image", "cannot be read"),
        (b"", "cannot be read"),
    ):
        write_parquet(file, [images[0], images[1], bad], [0, 1, 0])
        assert f"{file} row 2" in refused(folder, message)
    whole = io.BytesIO()
    Image.fromarray(random_images(1, size=64)[0]).save(whole, "PNG")
    write_parquet(file, [images[0], whole.getvalue()[:3000]], [0, 1])
    assert f"{file} row 1" in refused(folder, "cannot be read")
    deep = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900).save(deep, "PNG")
    write_parquet(file, [images[0], deep.getvalue()], [0, 1])
    assert f"{file} row 1" in refused(folder, "more than 8 bits")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 2], ("cat", "dog"), "label 2 is out of range, there are 2 classes"),
        ([0, 1, -1], ("cat", "dog"), "label -1 is negative"),
        ([0, 1, -1], None, "label -1 is negative"),
        ([0, 1, None], None, "the label is missing"),
    ],
)
def test_bad_labels_name_file_and_row(
    tmp_path, random_images, write_parquet, labels, names, message
):
    write_parquet(tmp_path / "train.parquet", random_images(2), [0, 1], names=names)
    write_parquet(tmp_path / "test.parquet", random_images(3), labels, names=names)
    assert f"{tmp_path / 'test.parquet'} row 2" in refused(tmp_path, message)


@pytest.mark.parametrize("labels", [[0.0, 1.5], ["a", "b"], [True, False]])
def test_labels_must_be_integers(tmp_path, random_images, write_parquet, labels):
    write_parquet(tmp_path / "train.parquet", random_images(2), labels, names=None)
    write_parquet(tmp_path / "test.parquet", random_images(2), labels, names=None)
    assert "train.parquet" in refused(tmp_path, "labels must be integers")


def test_splits_with_different_classes(tmp_path, random_images, write_parquet):
    write_parquet(tmp_path / "train.parquet", random_images(2), [0, 1], names=("cat", "dog"))
    write_parquet(tmp_path / "test.parquet", random_images(2), [0, 1], names=("cat", "cow"))
    assert "only in train: dog; only in test: cow" in refused(tmp_path, "different classes")
    write_parquet(tmp_path / "test.parquet", random_images(2), [0, 1], names=("dog", "cat"))
    refused(tmp_path, "different orders")


def test_a_test_label_that_train_does_not_know(tmp_path, random_images, write_parquet):
    write_parquet(tmp_path / "train.parquet", random_images(2), [0, 1], names=None)
    write_parquet(tmp_path / "test.parquet", random_images(2), [1, 5], names=None)
    assert f"{tmp_path / 'test.parquet'} row 1" in refused(tmp_path, "label 5 is out of range")


def test_one_class_only(tmp_path, random_images, write_parquet):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", random_images(2), [0, 0], names=("cat",))
    refused(tmp_path, "one class only")


def test_grey_and_color(tmp_path, random_images, write_parquet):
    grey, color = random_images(4, channels=1), random_images(4)
    write_parquet(tmp_path / "train.parquet", [*grey[:3], color[0]], [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", color, [0, 1, 0, 1])
    refused(tmp_path, "mixes 3 grey with 1 color images")
    write_parquet(tmp_path / "train.parquet", grey, [0, 1, 0, 1])
    refused(tmp_path, "train images have 1 channels")


def test_images_that_are_not_square_or_all_alike(tmp_path, random_images, write_parquet):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", random_images(2)[:, :6], [0, 1])
    refused(tmp_path, "8x6 pixels; give image_size")
    write_parquet(tmp_path / "train.parquet", random_images(2), [0, 1])
    refused(tmp_path, "8x6 pixels; give image_size")
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", random_images(2) * 0, [0, 1])
    refused(tmp_path, "all train pixels are equal")


def test_damaged_files_are_named(two_splits):
    folder, _ = two_splits
    file = folder / "train-00001-of-00002.parquet"
    whole = file.read_bytes()
    for spoiled in (b"", whole[:-30], whole[:200], b"PAR1" + whole[60:]):
        file.write_bytes(spoiled)
        assert str(file) in refused(folder, "damaged or truncated")


def test_missing_files_columns_and_rows(tmp_path, random_images, write_parquet):
    refused(tmp_path / "nowhere", "does not exist")
    assert "holds nothing" in refused(tmp_path, "no train and no test")
    write_parquet(tmp_path / "train.parquet", random_images(2), [0, 1])
    assert "holds train.parquet" in refused(tmp_path, "no test files")
    write_parquet(tmp_path / "test.parquet", random_images(2), [0, 1], columns=("pic", "label"))
    assert "among pic, label" in refused(tmp_path, "no image column")
    write_parquet(tmp_path / "test.parquet", random_images(2), [0, 1], columns=("img", "class"))
    assert "test.parquet" in refused(tmp_path, "no label column")
    write_parquet(tmp_path / "test.parquet", [], [])
    refused(tmp_path, "has no rows")
    pq.write_table(pa.table({"image": [1, 2], "label": [0, 1]}), tmp_path / "test.parquet")
    refused(tmp_path, "not images")


def test_files_of_one_split_must_have_the_same_columns(two_splits, random_images, write_parquet):
    folder, _ = two_splits
    file = folder / "train-00001-of-00002.parquet"
    write_parquet(file, random_images(2), [0, 1], names=("cat", "cow"))
    assert str(file) in refused(folder, "other columns")
