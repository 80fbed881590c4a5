"""Make the part of Fashion-MNIST that ships with the package.

    python scripts/make_fashion_mnist_mini.py SOURCE_FOLDER
    python scripts/make_fashion_mnist_mini.py --hub

SOURCE_FOLDER holds the four idx files, plain or gzip. Of every class the first 1,000 train and the
first 200 test images are kept, in the official order, as lossless PNG in parquet files laid out as
Hugging Face `datasets` does. The same pixels always give the same rows; the bytes of the files may
differ between versions of Pillow and pyarrow, so the provenance records sums of both.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import struct
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from bitlens.data.fashion_mnist import CLASSES, HUB, read_split

PER_CLASS = {"train": 1000, "test": 200}
PACKAGE_FOLDER = Path(__file__).parents[1] / "src" / "bitlens" / "data" / "fashion_mnist_mini"


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of the first `count` images of every class, in rising order."""
    picked = [np.flatnonzero(labels == label)[:count] for label in range(len(CLASSES))]
    short = [CLASSES[label] for label, rows in enumerate(picked) if len(rows) < count]
    if short:
        raise SystemExit(f"fewer than {count} images of {', '.join(short)}")
    return np.sort(np.concatenate(picked))


def read_hub(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The split from the Hugging Face hub: uint8 images `(n, 28, 28)` and int64 labels."""
    rows = datasets.load_dataset(HUB, split=split)
    return np.stack([np.asarray(image) for image in rows["image"]]), np.asarray(rows["label"])


def png(image: np.ndarray) -> bytes:
    """One grey image, lossless."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def write(path: Path, split: str, images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> None:
    """Write the given rows as one parquet file; `path` of an image carries its official row."""
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES))
    )
    columns = {
        "image": [{"bytes": png(images[row]), "path": f"{split}-{row:05d}.png"} for row in rows],
        "label": labels[rows].tolist(),
    }
    table = datasets.Dataset.from_dict(columns, features=features).data.table
    pq.write_table(table, path, compression="zstd", compression_level=19, row_group_size=1000)


def sums(images: np.ndarray, labels: np.ndarray) -> dict[str, str]:
    """Sha256 of the plain idx files with this content."""
    image_header = struct.pack(">4I", 0x0803, *images.shape)
    label_header = struct.pack(">2I", 0x0801, len(labels))
    label_bytes = labels.astype(np.uint8).tobytes()
    return {
        "images": hashlib.sha256(image_header + images.tobytes()).hexdigest(),
        "labels": hashlib.sha256(label_header + label_bytes).hexdigest(),
    }


def main() -> None:
    """Read the source, write both files and `provenance.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", type=Path, help="folder with the four idx files")
    parser.add_argument("--hub", action="store_true", help=f"read {HUB} from the hub instead")
    parser.add_argument("--out", type=Path, default=PACKAGE_FOLDER, help="where to write")
    given = parser.parse_args()
    if given.hub == (given.source is not None):
        parser.error("give either SOURCE_FOLDER or --hub")
    given.out.mkdir(parents=True, exist_ok=True)
    provenance: dict = {
        "source": "Fashion-MNIST, Zalando SE, https://github.com/zalandoresearch/fashion-mnist",
        "rows": "the first per_class images of every class, in the official order",
        "splits": {},
    }
    for split, count in PER_CLASS.items():
        images, labels = read_hub(split) if given.hub else read_split(given.source, split)
        rows = first_of_each_class(labels, count)
        file = given.out / f"{split}.parquet"
        write(file, split, images, labels, rows)
        provenance["splits"][split] = {
            "per_class": count,
            "last_row": int(rows[-1]),
            "sha256_of_file": hashlib.sha256(file.read_bytes()).hexdigest(),
            "sha256_as_plain_idx": sums(images[rows], labels[rows]),
            "sha256_of_source_as_plain_idx": sums(images, labels),
        }
    (given.out / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")


if __name__ == "__main__":
    main()
