from __future__ import annotations

import errno
import os

import datasets
import pytest

from bitlens.data import load
from bitlens.data.arrow_cache import with_arrow_cache
from bitlens.data.disk import DiskImageSet
from bitlens.errors import BitlensError


def failing(*codes):
    """A load that fails with each code in turn, then gives the folder it was told."""
    left = list(codes)

    def load(folder):
        if left:
            raise OSError(code := left.pop(0), os.strerror(code))
        return folder

    return load


def test_uses_the_usual_folder_when_it_can():
    assert with_arrow_cache(failing()) is None


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_uses_a_temporary_folder_when_it_must(code):
    folder = with_arrow_cache(failing(code))
    assert folder is not None and os.path.isdir(folder)


def test_finds_the_reason_behind_a_wrapped_error():
    calls = []

    def load(folder):
        calls.append(folder)
        if folder is None:
            try:
                raise OSError(errno.ENOSPC, "full")
            except OSError as why:
                raise datasets.exceptions.DatasetGenerationError("failed") from why
        return folder

    assert with_arrow_cache(load) == calls[1]


def test_says_so_when_neither_folder_works():
    with pytest.raises(BitlensError, match="neither the one of `datasets` nor"):
        with_arrow_cache(failing(errno.EROFS, errno.ENOSPC))


def test_other_errors_pass():
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        with_arrow_cache(failing(errno.ENOENT))


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch, random_images, write_parquet):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "below")
    for split in ("train", "test"):
        write_parquet(tmp_path / "set" / f"{split}.parquet", random_images(8), [0, 1] * 4)
    data = load(f"parquet:{tmp_path / 'set'}", image_size=8, memory_limit=100)
    assert isinstance(data.train, DiskImageSet)


def test_a_damaged_file_is_told_from_disk_too(tmp_path, random_images, write_parquet):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", random_images(8), [0, 1] * 4)
    file = tmp_path / "train.parquet"
    raw = bytearray(file.read_bytes())
    raw[4:400] = b"\xff" * 396
    file.write_bytes(raw)
    with pytest.raises(BitlensError, match="cannot be read") as caught:
        load(f"parquet:{tmp_path}", image_size=8, memory_limit=100)
    assert str(tmp_path) in str(caught.value)
