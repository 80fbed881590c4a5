"""Caches that belong to the test, and small sets of images written to disk.

Helpers come as fixtures that return a function, so that no test imports from this file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bitlens.data.sources import find_folder


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("BITLENS_CACHE", str(folder / "bitlens"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    return folder


@pytest.fixture
def official() -> Path:
    """The folder of the four official Fashion-MNIST files."""
    folder = find_folder(("fashion-mnist",), "train-images-idx3-ubyte*")
    if folder is None:
        pytest.skip("BITLENS_DATA has no fashion-mnist/ with the official idx files")
    return folder


def _random_images(n: int, size: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Uint8 `(n, h, w, 3)`, or `(n, h, w)` for one channel."""
    shape = (n, size, size) if channels == 1 else (n, size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _encode(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _write_parquet(
    path: Path,
    images: Sequence[np.ndarray | bytes | None],
    labels: Sequence,
    *,
    names: Sequence[str] | None = ("cat", "dog"),
    columns: tuple[str, str] = ("image", "label"),
) -> Path:
    """A parquet file as `datasets` writes it; with names=None plain columns without its schema."""
    cells = [
        {"bytes": _encode(image) if isinstance(image, np.ndarray) else image, "path": None}
        for image in images
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    if names is None:
        cell_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        table = pa.table({columns[0]: pa.array(cells, cell_type), columns[1]: list(labels)})
    else:
        features = datasets.Features(
            {columns[0]: datasets.Image(), columns[1]: datasets.ClassLabel(names=list(names))}
        )
        stored = pa.table(
            {
                columns[0]: pa.array(cells, features.arrow_schema.field(columns[0]).type),
                columns[1]: pa.array(labels, pa.int64()),
            }
        )
        table = stored.replace_schema_metadata(features.arrow_schema.metadata)
    pq.write_table(table, path)
    return path


def _write_folder(root: Path, counts: dict[str, int], size: int = 8, seed: int = 0) -> np.ndarray:
    """`root/CLASS/000.png` and so on; returns the images in the order of class and name."""
    images = _random_images(sum(counts.values()), size, seed=seed)
    at = 0
    for name in sorted(counts):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(counts[name]):
            Image.fromarray(images[at]).save(root / name / f"{number:03d}.png")
            at += 1
    return images


@pytest.fixture
def random_images():
    return _random_images


@pytest.fixture
def write_parquet():
    return _write_parquet


@pytest.fixture
def write_folder():
    return _write_folder
