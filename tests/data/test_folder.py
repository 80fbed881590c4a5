from __future__ import annotations

import datasets
import numpy as np
import pytest
from PIL import Image

from bitlens.data import load
from bitlens.errors import BitlensError


@pytest.fixture
def animals(tmp_path, write_folder):
    """Two classes, 5 + 3 train and 2 + 2 test images."""
    return (
        tmp_path,
        write_folder(tmp_path / "train", {"dog": 5, "cat": 3}),
        write_folder(tmp_path / "test", {"dog": 2, "cat": 2}, seed=1),
    )


def refused(folder, message: str) -> str:
    with pytest.raises(BitlensError, match=message) as caught:
        load(f"folder:{folder}")
    return str(caught.value)


def test_round_trip(animals):
    root, train, test = animals
    data = load(f"folder:{root}")
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), train)
    np.testing.assert_array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), test)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert data.classes == ("cat", "dog")


def test_equals_imagefolder(animals, own_caches):
    root, *_ = animals
    theirs = datasets.load_dataset("imagefolder", data_dir=str(root), cache_dir=str(own_caches))
    data = load(f"folder:{root}")
    assert data.classes == tuple(theirs["train"].features["label"].names)
    for split, ours in (("train", data.train), ("test", data.test)):
        pixels = np.stack([np.asarray(image) for image in theirs[split]["image"]])
        np.testing.assert_array_equal(ours.images.permute(0, 2, 3, 1).numpy(), pixels)
        assert ours.labels.tolist() == list(theirs[split]["label"])


@pytest.mark.parametrize("name", ["val", "validation"])
def test_other_names_of_the_test_split(animals, name):
    root, _, test = animals
    (root / "test").rename(root / name)
    assert len(load(f"folder:{root}").test) == len(test)


def test_what_is_no_image_is_passed_over(animals):
    root, train, _ = animals
    (root / "train" / "cat" / "notes.txt").write_text("none")
    (root / "train" / "cat" / ".hidden.png").write_text("none")
    (root / "train" / ".cache").mkdir()
    (root / "train" / "index.csv").write_text("none")
    assert len(load(f"folder:{root}").train) == len(train)


def test_deeper_folders_and_upper_case_suffixes_count(animals, random_images):
    root, train, _ = animals
    (root / "train" / "cat" / "more").mkdir()
    Image.fromarray(random_images(1)[0]).save(root / "train" / "cat" / "more" / "X.PNG")
    data = load(f"folder:{root}")
    assert len(data.train) == len(train) + 1
    assert data.train.labels.tolist().count(0) == 4


def test_an_unreadable_image_is_named(animals):
    root, *_ = animals
    bad = root / "train" / "dog" / "002.png"
    bad.write_bytes(bad.read_bytes()[:60])
    assert str(bad) in refused(root, "cannot be read")


def test_mixed_sizes_name_the_file(animals, random_images):
    root, *_ = animals
    Image.fromarray(random_images(1, size=9)[0]).save(root / "train" / "dog" / "001.png")
    said = refused(root, "9x9 pixels but .*8x8")
    assert str(root / "train" / "dog" / "001.png") in said
    assert load(f"folder:{root}", image_size=8).image_size == 8


def test_missing_and_empty_folders(animals, tmp_path):
    root, *_ = animals
    refused(root / "nowhere", "is not a folder")
    (root / "train" / "bird").mkdir()
    assert str(root / "train" / "bird") in refused(root, "holds no images")
    (root / "test").rename(root / "other")
    assert "holds other, train" in refused(root, "needs the folders train/ and test/")
    (tmp_path / "empty" / "train").mkdir(parents=True)
    (tmp_path / "empty" / "test").mkdir()
    refused(tmp_path / "empty", "has no class folders")


def test_classes_must_be_two_and_the_same(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"cat": 2})
    write_folder(tmp_path / "test", {"cat": 2, "cow": 1})
    refused(tmp_path, r"one class only \(cat\)")
    write_folder(tmp_path / "train", {"dog": 2})
    refused(tmp_path, "only in train: dog; only in test: cow")
