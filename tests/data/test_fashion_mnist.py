from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import struct
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from bitlens.data import load
from bitlens.data.fashion_mnist import CLASSES, read_split
from bitlens.errors import BitlensError

MINI = Path(str(resources.files("bitlens.data") / "fashion_mnist_mini"))
SCRIPT = Path(__file__).parents[2] / "scripts" / "make_fashion_mnist_mini.py"


@pytest.fixture(scope="module")
def mini():
    return load("fashion-mnist-mini")


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape) + bytes(
        values.astype(np.uint8).tobytes()
    )


def write_set(folder: Path, *, size: int = 28, per_class: int = 3) -> dict[str, np.ndarray]:
    """Four idx files in `folder/fashion-mnist`, the labels going round."""
    folder = folder / "fashion-mnist"
    folder.mkdir(parents=True)
    written = {}
    for seed, name in enumerate(("train", "t10k")):
        labels = np.tile(np.arange(10), per_class)
        shape = (len(labels), size, size)
        images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
        written[name] = images
    return written


def test_mini_is_balanced(mini):
    assert torch.bincount(mini.train.labels).tolist() == [1000] * 10
    assert torch.bincount(mini.test.labels).tolist() == [200] * 10
    assert mini.train.images.shape == (10_000, 1, 28, 28)
    assert mini.test.images.shape == (2_000, 1, 28, 28)
    assert mini.classes == CLASSES
    assert (mini.channels, mini.image_size) == (1, 28)


def test_mini_moments_are_those_of_its_train_pixels(mini):
    wide = mini.train.images.double() / 255
    assert mini.mean == pytest.approx((wide.mean().item(),), rel=1e-9)
    assert mini.std == pytest.approx((wide.std(correction=0).item(),), rel=1e-9)


@pytest.mark.parametrize("split", ["train", "test"])
def test_mini_is_what_its_provenance_says(mini, split):
    said = json.loads((MINI / "provenance.json").read_text())["splits"][split]
    assert (
        hashlib.sha256((MINI / f"{split}.parquet").read_bytes()).hexdigest()
        == (said["sha256_of_file"])
    )
    part = getattr(mini, split)
    images, labels = part.images[:, 0].numpy(), part.labels.numpy()
    assert hashlib.sha256(idx(images)).hexdigest() == said["sha256_as_plain_idx"]["images"]
    assert hashlib.sha256(idx(labels)).hexdigest() == said["sha256_as_plain_idx"]["labels"]


def test_mini_is_small_and_carries_its_license():
    assert sum(file.stat().st_size for file in MINI.iterdir()) < 6_000_000
    assert "MIT License" in (MINI / "LICENSE").read_text()
    assert "Zalando" in (MINI / "LICENSE").read_text()


@pytest.mark.parametrize("split", ["train", "test"])
def test_mini_equals_the_official_rows_it_names(mini, official, split):
    images, labels = read_split(official, split)
    cells = pq.read_table(MINI / f"{split}.parquet").column("image").to_pylist()
    rows = np.array([int(cell["path"].split("-")[1].split(".")[0]) for cell in cells])
    part = getattr(mini, split)
    np.testing.assert_array_equal(part.images[:, 0].numpy(), images[rows])
    np.testing.assert_array_equal(part.labels.numpy(), labels[rows])
    count = len(rows) // 10
    first = [np.flatnonzero(labels == label)[:count] for label in range(10)]
    np.testing.assert_array_equal(rows, np.sort(np.concatenate(first)))


def test_official_sums(official):
    said = json.loads((MINI / "provenance.json").read_text())["splits"]
    for split in ("train", "test"):
        images, labels = read_split(official, split)
        source = said[split]["sha256_of_source_as_plain_idx"]
        assert hashlib.sha256(idx(images)).hexdigest() == source["images"]
        assert hashlib.sha256(idx(labels)).hexdigest() == source["labels"]


def test_full_set_from_the_official_files(official, monkeypatch):
    monkeypatch.setenv("BITLENS_DATA", str(official.parent))
    data = load("fashion-mnist")
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    # The figures everybody uses for this set.
    assert data.mean == pytest.approx((0.2860,), abs=1e-4)
    assert data.std == pytest.approx((0.3530,), abs=1e-4)


def test_full_set_from_plain_and_gzip_files(tmp_path, monkeypatch):
    written = write_set(tmp_path / "second")
    (tmp_path / "first").mkdir()
    monkeypatch.setenv("BITLENS_DATA", f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}")
    data = load("fashion-mnist")
    np.testing.assert_array_equal(data.train.images[:, 0].numpy(), written["train"])
    np.testing.assert_array_equal(data.test.images[:, 0].numpy(), written["t10k"])
    assert data.train.labels.tolist() == list(range(10)) * 3
    assert load("fashion-mnist", image_size=14).train.images.shape == (30, 1, 14, 14)


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("train-images-idx3-ubyte.gz", lambda raw: raw[:-20], "damaged or truncated gzip"),
        ("train-images-idx3-ubyte.gz", lambda raw: b"x" + raw[1:], "damaged or truncated gzip"),
        ("t10k-images-idx3-ubyte.gz", lambda raw: gzip.compress(b""), "header"),
        (
            "t10k-images-idx3-ubyte.gz",
            lambda raw: gzip.compress(gzip.decompress(raw)[:-5]),
            "truncated: 30x28x28 values make 23520 bytes, found 23515",
        ),
        ("train-labels-idx1-ubyte", lambda raw: raw + b"\0", "too long"),
        ("train-labels-idx1-ubyte", lambda raw: raw[:3] + b"\3" + raw[4:], "0x00000803"),
        ("train-labels-idx1-ubyte", lambda raw: raw[:9] + b"\12" + raw[10:], "row 1: label 10"),
        ("train-labels-idx1-ubyte", lambda raw: idx(np.zeros(29)), "30 images .* 29 labels"),
    ],
)
def test_bad_files_are_named(tmp_path, monkeypatch, file, spoil, message):
    write_set(tmp_path)
    monkeypatch.setenv("BITLENS_DATA", str(tmp_path))
    path = tmp_path / "fashion-mnist" / file
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BitlensError, match=message) as caught:
        load("fashion-mnist")
    assert file in str(caught.value)


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    write_set(tmp_path)
    monkeypatch.setenv("BITLENS_DATA", str(tmp_path))
    (tmp_path / "fashion-mnist" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(BitlensError, match="lacks t10k-labels-idx1-ubyte"):
        load("fashion-mnist")


def test_the_script_makes_the_same_rows_from_any_copy(tmp_path, monkeypatch):
    written = write_set(tmp_path, per_class=4)
    spec = importlib.util.spec_from_file_location("make_fashion_mnist_mini", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "PER_CLASS", {"train": 3, "test": 2})
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["script", str(tmp_path / "fashion-mnist"), "--out", str(out)])
    script.main()
    data = load(f"parquet:{out}")
    np.testing.assert_array_equal(data.train.images[:, 0].numpy(), written["train"][:30])
    np.testing.assert_array_equal(data.test.images[:, 0].numpy(), written["t10k"][:20])
    first = (out / "train.parquet").read_bytes()
    script.main()
    assert (out / "train.parquet").read_bytes() == first
