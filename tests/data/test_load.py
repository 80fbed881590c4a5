from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from bitlens.data import DATASETS, load
from bitlens.data.images import ImageSet
from bitlens.data.sources import data_folders, find_folder
from bitlens.errors import BitlensError


def test_unknown_names_get_near_ones():
    with pytest.raises(BitlensError, match="unknown data set 'cifar-10'; did you mean cifar10"):
        load("cifar-10")
    with pytest.raises(BitlensError, match="unknown data set 'parquets:x'"):
        load("parquets:x")


@pytest.mark.parametrize("spec", ["parquet:", "folder:", "hub:"])
def test_a_scheme_needs_a_target(spec):
    with pytest.raises(BitlensError, match="lacks what comes after the colon"):
        load(spec)


def test_image_size_must_be_positive():
    with pytest.raises(BitlensError, match="at least 1 pixel, got 0"):
        load("fashion-mnist-mini", image_size=0)


def test_importing_the_room_stays_light():
    code = (
        "import sys, bitlens.data; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'datasets', 'pyarrow', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert all(DATASETS.values())


def test_data_folders_come_in_their_order(tmp_path, monkeypatch):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first / "cifar100_q5", second / "cifar100"):
        folder.mkdir(parents=True)
        (folder / "train-0.parquet").touch()
    monkeypatch.setenv("BITLENS_DATA", f"{first}{os.pathsep}{os.pathsep}{second}")
    assert data_folders() == [first, second]
    names = ("cifar100", "cifar100_q5")
    assert find_folder(names, "*.parquet") == first / "cifar100_q5"
    (first / "cifar100").mkdir()
    assert find_folder(names, "*.parquet") == first / "cifar100_q5"
    (first / "cifar100" / "train-0.parquet").touch()
    assert find_folder(names, "*.parquet") == first / "cifar100"
    assert find_folder(("cifar10",), "*.parquet") is None
    monkeypatch.delenv("BITLENS_DATA")
    assert find_folder(names, "*.parquet") is None


@pytest.mark.parametrize("folder", ["cifar100", "cifar100_q5"])
def test_the_near_lossless_copy_says_so(
    tmp_path, monkeypatch, random_images, write_parquet, folder
):
    names = [f"class {number}" for number in range(3)]
    for split in ("train", "test"):
        path = tmp_path / folder / f"{split}-00000-of-00001.parquet"
        write_parquet(path, random_images(6), [0, 1, 2] * 2, names=names)
    monkeypatch.setenv("BITLENS_DATA", str(tmp_path))
    data = load("cifar100")
    assert data.name == "cifar100"
    assert ("near-lossless" in data.note) == folder.endswith("_q5")


def test_cifar10_has_its_published_moments(shared_data, monkeypatch):
    monkeypatch.setenv("BITLENS_DATA", str(shared_data))
    if not (shared_data / "cifar10").is_dir():
        pytest.skip("no cifar10/ there")
    data = load("cifar10")
    assert data.train.images.shape == (50_000, 3, 32, 32)
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    assert data.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)
    # The first image of the official train file is a frog.
    assert data.classes[int(data.train.labels[0])] == "frog"


def test_image_sets_index_and_batch():
    images = torch.arange(5 * 2 * 2, dtype=torch.uint8).view(5, 1, 2, 2)
    part = ImageSet(images, torch.tensor([4, 3, 2, 1, 0]))
    picked = part.subset([3, 3, 0])
    assert torch.equal(picked.images, images[[3, 3, 0]])
    assert picked.labels.tolist() == [1, 1, 4]
    batches = list(part.batches([torch.tensor([1, 0]), torch.tensor([4])]))
    assert [labels.tolist() for _, labels in batches] == [[3, 4], [0]]
    assert torch.equal(batches[1][0], images[4:])
    assert (len(part), part.channels, part.image_size) == (5, 1, 2)
    assert torch.equal(part.to("cpu").images, images)


def test_image_sets_refuse_other_tensors():
    images, labels = torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="uint8"):
        ImageSet(images.float(), labels)
    with pytest.raises(ValueError, match="uint8"):
        ImageSet(images[0], labels)
    with pytest.raises(ValueError, match="int64"):
        ImageSet(images, labels.int())
    with pytest.raises(ValueError, match="int64"):
        ImageSet(images, labels[:1])
