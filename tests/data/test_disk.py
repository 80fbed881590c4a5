from __future__ import annotations

import numpy as np
import pytest
import torch

from bitlens.data import load
from bitlens.data.assemble import sampled_rows
from bitlens.data.disk import DiskImageSet
from bitlens.data.images import ImageSet
from bitlens.errors import BitlensError


@pytest.fixture(params=["folder", "parquet"])
def source(request, tmp_path, random_images, write_folder, write_parquet):
    """The same two splits of mixed sizes, in either layout."""
    if request.param == "folder":
        write_folder(tmp_path / "train", {"cat": 40, "dog": 30}, size=12)
        write_folder(tmp_path / "test", {"cat": 5, "dog": 5}, size=10, seed=1)
    else:
        write_parquet(tmp_path / "train-0.parquet", random_images(40, 12), [0, 1] * 20)
        write_parquet(tmp_path / "train-1.parquet", random_images(30, 12, seed=1), [1, 0] * 15)
        write_parquet(tmp_path / "test.parquet", random_images(10, 10), [0, 1] * 5)
    return f"{request.param}:{tmp_path}"


def test_batches_equal_those_from_memory(source):
    memory = load(source, image_size=8)
    disk = load(source, image_size=8, memory_limit=1000)
    assert isinstance(memory.train, ImageSet) and isinstance(disk.train, DiskImageSet)
    assert isinstance(disk.test, DiskImageSet)
    assert (disk.channels, disk.image_size) == (3, 8)
    assert disk.classes == memory.classes
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0)).split(17)
    pairs = list(zip(disk.train.batches(order), memory.train.batches(order), strict=True))
    assert len(pairs) == len(order) == 5
    for (images, labels), (expected_images, expected_labels) in pairs:
        assert torch.equal(images, expected_images)
        assert torch.equal(labels, expected_labels)


def test_a_small_set_is_sampled_whole(source):
    memory = load(source, image_size=8)
    disk = load(source, image_size=8, memory_limit=1000)
    assert disk.mean == memory.mean and disk.std == memory.std
    assert "estimated from 70 train images" in disk.note


def test_only_the_split_above_the_limit_stays_on_disk(source):
    data = load(source, image_size=8, memory_limit=5000)
    assert isinstance(data.train, DiskImageSet)
    assert isinstance(data.test, ImageSet)


def test_subsets_of_subsets(source):
    memory = load(source, image_size=8).train
    disk = load(source, image_size=8, memory_limit=1000).train
    picked = torch.tensor([5, 60, 3, 3, 41])
    again = [4, 0, 2]
    ours, theirs = disk.subset(picked).subset(again), memory.subset(picked).subset(again)
    assert len(ours) == len(theirs) == 3
    order = [torch.tensor([0, 1, 2])]
    (images, labels), (expected_images, expected_labels) = (
        next(ours.batches(order)),
        next(theirs.batches(order)),
    )
    assert torch.equal(images, expected_images) and torch.equal(labels, expected_labels)


def test_an_empty_batch_and_an_abandoned_loop(source):
    disk = load(source, image_size=8, memory_limit=1000).train
    images, labels = next(disk.batches([torch.empty(0, dtype=torch.int64)]))
    assert images.shape == (0, 3, 8, 8) and labels.shape == (0,)
    loop = disk.batches(torch.arange(70).split(7))
    next(loop)
    loop.close()


def test_needs_an_image_size(source):
    with pytest.raises(BitlensError, match="give image_size to read them from disk"):
        load(source, memory_limit=1000)


def test_a_damaged_image_is_named_when_its_batch_comes(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"cat": 40, "dog": 30})
    write_folder(tmp_path / "test", {"cat": 2, "dog": 2})
    disk = load(f"folder:{tmp_path}", image_size=8, memory_limit=1000).train
    bad = tmp_path / "train" / "dog" / "003.png"
    bad.write_bytes(b"gone")
    batches = disk.batches(torch.arange(70).split(35))
    next(batches)
    with pytest.raises(BitlensError, match="cannot be read") as caught:
        next(batches)
    assert str(bad) in str(caught.value)


def test_a_color_image_in_a_grey_set(tmp_path, random_images, write_parquet):
    # A row that the sample for mean and std does not see.
    unseen = min(set(range(3000)) - {*sampled_rows(3000)})
    images = [*random_images(3000, 4, channels=1)]
    images[unseen] = random_images(1, 4)[0]
    write_parquet(tmp_path / "train.parquet", images, [0, 1] * 1500)
    write_parquet(tmp_path / "test.parquet", images[-4:], [0, 1, 0, 1])
    disk = load(f"parquet:{tmp_path}", image_size=4, memory_limit=1000).train
    assert disk.channels == 1
    with pytest.raises(BitlensError, match=f"row {unseen}: a color image in a grey set"):
        next(disk.batches([torch.tensor([unseen + 1, unseen])]))


def test_a_sample_of_a_larger_set(tmp_path, random_images, write_parquet):
    images = random_images(2500, 4)
    write_parquet(tmp_path / "train.parquet", images, [0, 1] * 1250)
    write_parquet(tmp_path / "test.parquet", images[:4], [0, 1, 0, 1])
    data = load(f"parquet:{tmp_path}", image_size=4, memory_limit=1000)
    assert "estimated from 2000 train images" in data.note
    wide = images.astype(np.float64) / 255
    assert data.mean != tuple(wide.mean((0, 1, 2)))
    np.testing.assert_allclose(data.mean, wide.mean((0, 1, 2)), atol=0.01)
    again = load(f"parquet:{tmp_path}", image_size=4, memory_limit=1000)
    assert again.mean == data.mean
