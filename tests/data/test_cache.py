from __future__ import annotations

import os
import sys

import pytest
import torch

from bitlens.data import cache, load


@pytest.fixture
def small(tmp_path, monkeypatch, random_images, write_parquet):
    """A set that is worth caching because nothing is too small for it here."""
    monkeypatch.setattr(cache, "_WORTH_KEEPING", 0)
    folder = tmp_path / "set"
    write_parquet(folder / "train.parquet", random_images(6), [0, 1] * 3)
    write_parquet(folder / "test.parquet", random_images(4, seed=1), [0, 1] * 2)
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """Counts the splits that were decoded."""
    calls: list[int] = []
    real = cache.decode_all

    def counting(rows, size):
        calls.append(len(rows))
        return real(rows, size)

    monkeypatch.setattr(cache, "decode_all", counting)
    return calls


def kept() -> list[str]:
    return sorted(file.name for file in cache.cache_folder().iterdir())


def test_decodes_once(small, decoded):
    first, second = load(f"parquet:{small}"), load(f"parquet:{small}")
    assert decoded == [6, 4]
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.images, second.test.images)
    assert first.mean == second.mean and first.note == second.note


def test_the_grey_note_survives(tmp_path, monkeypatch, decoded, random_images, write_parquet):
    monkeypatch.setattr(cache, "_WORTH_KEEPING", 0)
    images = [*random_images(3), random_images(1, channels=1)[0]]
    for split in ("train", "test"):
        write_parquet(tmp_path / "set" / f"{split}.parquet", images, [0, 1, 0, 1])
    notes = {load(f"parquet:{tmp_path / 'set'}").note for _ in range(2)}
    assert decoded == [4, 4]
    assert len(notes) == 1 and "grey" in notes.pop()


def test_another_size_and_changed_files_decode_again(small, decoded, random_images, write_parquet):
    load(f"parquet:{small}")
    load(f"parquet:{small}", image_size=5)
    assert decoded == [6, 4, 6, 4]
    before = kept()
    images = random_images(6, seed=9)
    file = write_parquet(small / "train.parquet", images, [0, 1] * 3)
    os.utime(file, ns=(1, 1))
    assert (load(f"parquet:{small}").train.images.permute(0, 2, 3, 1).numpy() == images).all()
    assert decoded == [6, 4, 6, 4, 6]
    # The file of the older state is gone, the one of the other size stays.
    assert len(kept()) == len(before) == 4
    assert len(set(kept()) - set(before)) == 1


def test_the_two_parts_of_a_single_file_stay_apart(
    tmp_path, monkeypatch, decoded, random_images, write_parquet
):
    monkeypatch.setattr(cache, "_WORTH_KEEPING", 0)
    file = write_parquet(tmp_path / "all.parquet", random_images(10), [0, 1] * 5)
    first, second = load(f"parquet:{file}"), load(f"parquet:{file}")
    assert decoded == [8, 2]
    assert torch.equal(first.test.images, second.test.images)
    assert torch.equal(first.train.images, second.train.images)


@pytest.mark.parametrize("spoil", [lambda raw: b"", lambda raw: raw[:-7], lambda raw: b"x" * 99])
def test_a_damaged_cache_is_made_anew(small, decoded, spoil):
    first = load(f"parquet:{small}")
    for name in kept():
        file = cache.cache_folder() / name
        file.write_bytes(spoil(file.read_bytes()))
    second = load(f"parquet:{small}")
    assert torch.equal(first.train.images, second.train.images)
    load(f"parquet:{small}")
    assert decoded == [6, 4, 6, 4]


def test_a_folder_that_cannot_be_written_changes_nothing(small, decoded, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path / "file" / "below"))
    first, second = load(f"parquet:{small}"), load(f"parquet:{small}")
    assert decoded == [6, 4, 6, 4]
    assert torch.equal(first.train.images, second.train.images)


def test_a_full_disk_leaves_no_part_behind(small, monkeypatch):
    def full(tensors, path, metadata):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "save_file", full)
    assert len(load(f"parquet:{small}").train) == 6
    assert kept() == []


def test_changing_the_images_does_not_change_the_cache(small):
    load(f"parquet:{small}")
    images = load(f"parquet:{small}").train.images
    before = images.clone()
    images.zero_()
    assert torch.equal(load(f"parquet:{small}").train.images, before)


def test_small_sets_are_not_kept(tmp_path, random_images, write_parquet):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", random_images(4), [0, 1] * 2)
    load(f"parquet:{tmp_path}")
    assert not cache.cache_folder().exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the user's cache folder is another there")
def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("BITLENS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "bitlens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder() == tmp_path / "home" / ".cache" / "bitlens"
