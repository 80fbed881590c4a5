"""A file as MATLAB 7.3 writes it: 512 bytes of text, then HDF5 with turned arrays and cells as references."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from bitlens.data.dense.mat import load
from bitlens.data.dense.nyudv2_labels import classes_of_labels, official_split
from bitlens.errors import BitlensError

h5py = pytest.importorskip("h5py")

FRAMES, HEIGHT, WIDTH = 1449, 6, 8
LIMIT = 2**30
HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan 01 00:00:00 2012 HDF5 schema 1.00 ."
NAMED = {
    21: "wall", 11: "floor", 3: "cabinet", 157: "bed", 5: "chair", 83: "sofa", 19: "table", 28: "door",
    59: "window", 88: "bookshelf", 64: "picture", 7: "counter", 80: "blinds", 36: "desk", 42: "shelves",
    89: "curtain", 169: "dresser", 119: "pillow", 122: "mirror", 143: "floor mat", 141: "clothes",
    4: "ceiling", 85: "books", 17: "refridgerator", 172: "television", 15: "paper", 135: "towel",
    123: "shower curtain", 26: "box", 45: "whiteboard", 331: "person", 158: "night stand", 124: "toilet",
    24: "sink", 144: "lamp", 136: "bathtub", 55: "bag",
}  # fmt: skip


def as_matlab_writes(array: np.ndarray) -> np.ndarray:
    """`(h, w, ..., n)` in memory by columns is `(n, ..., w, h)` to whoever reads it by rows."""
    return np.ascontiguousarray(array.transpose(*range(array.ndim)[::-1]))


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    """Arrays as MATLAB shows them: `(h, w, 3, n)`, `(h, w, n)`, `(h, w, n)`."""
    draw = np.random.default_rng(0)
    return {
        "images": draw.integers(0, 256, (HEIGHT, WIDTH, 3, FRAMES), dtype=np.uint8),
        "labels": draw.integers(0, 895, (HEIGHT, WIDTH, FRAMES), dtype=np.uint16),
        "depths": draw.uniform(0.7, 9.99, (HEIGHT, WIDTH, FRAMES)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory, truth) -> Path:
    path = tmp_path_factory.mktemp("mat") / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in truth.items():
            # 13 frames to a chunk: the last one of 1,449 is not full.
            chunks = (13, *array.shape[:-1][::-1])
            file.create_dataset(name, data=as_matlab_writes(array), chunks=chunks, compression=1)
        write_names(file, [NAMED.get(label, f"thing {label}") for label in range(1, 895)])
    with path.open("r+b") as file:
        file.write(HEADER)
    return path


def write_names(file, names: list[str]) -> None:
    references = np.empty((1, len(names)), dtype=h5py.ref_dtype)
    for at, name in enumerate(names):
        codes = np.array([[ord(letter)] for letter in name], dtype=np.uint16)
        references[0, at] = file.create_dataset(f"#refs#/{at}", data=codes).ref
    file.create_dataset("names", data=references)


@pytest.fixture
def own(original, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copy(original, tmp_path / "own.mat"))


def refused(target, message: str, **options) -> str:
    with pytest.raises(BitlensError, match=message) as caught:
        load(str(target), **{"memory_limit": LIMIT, **options})
    return str(caught.value)


def replaced(path: Path, name: str, array) -> Path:
    with h5py.File(path, "r+") as file:
        del file[name]
        if array is not None:
            file[name] = array
    return path


def test_every_pixel_stands_where_matlab_shows_it(original, truth):
    data = load(str(original), memory_limit=LIMIT)
    table = classes_of_labels()
    for ours, frames in zip((data.train, data.test), official_split(), strict=True):
        for at, frame in enumerate(frames):
            image, labels = truth["images"][..., frame], truth["labels"][..., frame]
            assert (ours.images[at].permute(1, 2, 0).numpy() == image).all()
            assert (ours.masks[at].numpy() == table[labels]).all()
        metres = truth["depths"][..., list(frames)].transpose(2, 0, 1)
        np.testing.assert_allclose(ours.depths.numpy() / 1000, metres, atol=0.5001e-3)
    assert (len(data.train), len(data.test)) == (795, 654)
    assert data.name == f"mat:{original}"
    assert data.classes[:3] == ("wall", "floor", "cabinet") and len(data.classes) == 40
    assert "original labelled file" in data.note


def test_the_crop_is_that_of_the_full_frames(original):
    top, bottom, left, right = load(str(original), memory_limit=LIMIT).crop
    assert (top * 480, bottom * 480, left * 640, right * 640) == (45, 471, 41, 601)


def test_thirteen_classes(original, truth):
    data = load(f"{original}:13", memory_limit=LIMIT)
    assert len(data.classes) == 13
    by_hand = {21: "wall", 28: "wall", 143: "floor", 17: "furniture", 36: "table", 89: "window"}
    by_hand |= {
        172: "tv",
        158: "furniture",
        8: "objects",
        12: "furniture",
        2: "objects",
        85: "books",
    }
    frames = list(official_split()[0])
    labels = truth["labels"][..., frames].transpose(2, 0, 1)
    for label, name in by_hand.items():
        found = np.unique(data.train.masks.numpy()[labels == label])
        assert found.tolist() == [data.classes.index(name)]
    assert (data.train.masks.numpy()[labels == 0] == 255).all()
    assert (data.train.masks.numpy()[labels > 0] < 13).all()


def test_train_truth_follows_the_images_and_test_truth_stays(original, truth):
    data = load(f"{original}:40", image_size=3, memory_limit=LIMIT)
    assert data.train.image_size == data.test.image_size == data.train.truth_size == (3, 4)
    assert data.test.truth_size == (HEIGHT, WIDTH)
    frame = official_split()[1][0]
    reduced = Image.fromarray(np.ascontiguousarray(truth["images"][..., frame]))
    reduced = np.asarray(reduced.resize((4, 3), Image.Resampling.BILINEAR))
    assert (data.test.images[0].permute(1, 2, 0).numpy() == reduced).all()


def test_the_table_of_labels():
    table = classes_of_labels()
    assert table.shape == (895,) and table[0] == 255
    counts = np.bincount(table[1:], minlength=40)
    assert counts[:37].tolist() == [1] * 37
    assert counts[37:].tolist() == [68, 82, 707]
    # Dishwasher, garbage bin, bottle; wall and person.
    assert table[[8, 12, 2, 21, 331]].tolist() == [37, 38, 39, 0, 30]


def test_the_split_is_that_of_a_copy_that_tells_it(shared_data):
    import pyarrow.parquet as pq

    for split, ours in zip(("train", "test"), official_split(), strict=True):
        files = sorted((shared_data / "nyudv2").glob(f"{split}-*.parquet"))
        if not files:
            pytest.skip("no nyudv2 among the shared data")
        theirs = [
            i for file in files for i in pq.read_table(file, columns=["index"])["index"].to_pylist()
        ]
        assert [frame + 1 for frame in ours] == theirs


def test_chunks_of_any_length_give_the_same(original, own, truth):
    with h5py.File(own, "r+") as file:
        del file["depths"]
        file.create_dataset("depths", data=as_matlab_writes(truth["depths"]))
        del file["labels"]
        labels = as_matlab_writes(truth["labels"])
        file.create_dataset("labels", data=labels, chunks=(1, WIDTH, HEIGHT))
    one, other = load(str(original), memory_limit=LIMIT), load(str(own), memory_limit=LIMIT)
    assert (one.train.depths == other.train.depths).all()
    assert (one.test.masks == other.test.masks).all()


@pytest.mark.parametrize("share", [0, 10 / 2**20, 0.001, 0.01, 0.3, 0.9, 1])
def test_truncated(own, share):
    whole = own.read_bytes()
    own.write_bytes(whole[: min(int(len(whole) * share), len(whole) - 1)])
    assert str(own) in refused(
        own, "is empty|breaks off; it is truncated|truncated or damaged|is not a"
    )


@pytest.mark.parametrize("size", [64, 512, 520, 600, 4096])
def test_truncated_behind_the_header(own, size):
    own.write_bytes(own.read_bytes()[:size])
    refused(own, "truncated")


def test_damage_inside_names_the_frame(own):
    with h5py.File(own, "r") as file:
        place = file["labels"].id.get_chunk_info(1)
    with own.open("r+b") as file:
        file.seek(place.byte_offset)
        file.write(bytes(place.size))
    # Frames 14 to 26; 14 to 18 are for the test.
    assert f"{own} frame 19" in refused(own, "cannot be read, the file is damaged")


def test_other_files(tmp_path, original):
    refused(tmp_path / "nowhere.mat", "nowhere.mat does not exist")
    refused(original.parent, "is a folder; .*nyu_depth_v2_labeled.mat itself")
    text = tmp_path / "page.mat"
    text.write_text("<html>not found</html>" * 100)
    assert str(text) in refused(text, r"is not a MATLAB 7.3 \(HDF5\) file")
    old = tmp_path / "splits.mat"
    scipy.io.savemat(old, {"trainNdxs": np.arange(3), "testNdxs": np.arange(3)})
    assert str(old) in refused(old, "is a MATLAB 5 file")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["rgb"] = np.zeros(3)
        file.create_group("depths")
    refused(other, "other.h5 holds no array images, .*it holds depths, rgb")


@pytest.mark.parametrize("name", ["images", "labels", "depths"])
def test_a_missing_array_is_named(own, name):
    refused(replaced(own, name, None), f"holds no array {name}")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("images", lambda a: a.astype(np.uint16), "images holds uint16, not bytes"),
        ("labels", lambda a: a.astype(np.float32), "labels holds float32, not unsigned"),
        ("depths", lambda a: a.astype(np.uint16), "depths holds uint16, not floats"),
        ("images", lambda a: a[:, :1], r"images has the shape \(1449, 1, 8, 6\)"),
        ("images", lambda a: a[:7], r"\(7, 3, 8, 6\); .*1449 frames"),
        ("images", lambda a: a.transpose(3, 2, 1, 0), r"\(6, 8, 3, 1449\)"),
        ("labels", lambda a: a[:, None], r"labels has the shape \(1449, 1, 8, 6\)"),
        ("depths", lambda a: a[:, :4], "frames differ in size: images 8x6, labels 8x6, depths 4x6"),
    ],
)
def test_arrays_of_another_kind(own, name, change, message):
    with h5py.File(own, "r") as file:
        array = file[name][()]
    assert str(own) in refused(replaced(own, name, change(array)), message)


def test_arrays_written_rows_first_would_stand_upright(own):
    with h5py.File(own, "r") as file:
        turned = {name: file[name][()].swapaxes(-1, -2) for name in ("images", "labels", "depths")}
    for name, array in turned.items():
        replaced(own, name, array)
    refused(own, "frames of 6x8 pixels stand upright")


def test_a_label_beyond_the_names(own, truth):
    labels = as_matlab_writes(truth["labels"]).copy()
    labels[700, 2, 3] = 895
    refused(replaced(own, "labels", labels), "frame 701: label 895 is beyond the 894")


def test_depths_that_nobody_measured(own, truth):
    depths = as_matlab_writes(truth["depths"]).copy()
    depths[2, 1, 4], depths[2, 0, 0], depths[2, 3, 3] = np.nan, 0, -1
    data = load(str(replaced(own, "depths", depths)), memory_limit=LIMIT)
    assert official_split()[0][0] == 2
    assert [data.train.depths[0, y, x].item() for y, x in ((4, 1), (0, 0), (3, 3))] == [0, 0, 0]
    assert (data.train.depths[0] == 0).sum() == 3
    depths[5] = np.nan
    refused(replaced(own, "depths", depths), "frame 6: the depth is unknown in the whole image")
    depths[5] = 40
    refused(replaced(own, "depths", depths), "frame 6: a depth of 40.0 m")


def test_names_of_another_numbering(own):
    shifted = [NAMED.get(label + 1, f"thing {label}") for label in range(1, 895)]
    with h5py.File(own, "r+") as file:
        del file["names"], file["#refs#"]
        write_names(file, shifted)
    refused(own, "label 21 is named 'thing 21', in the original 'wall'")
    with h5py.File(own, "r+") as file:
        del file["names"], file["#refs#"]
        write_names(file, shifted[:40])
    refused(own, "names 40 labels; the original has 894")
    refused(replaced(own, "names", None), "names of the labels cannot be read")
    refused(replaced_names(own), "names of the labels cannot be read")


def replaced_names(path: Path) -> Path:
    with h5py.File(path, "r+") as file:
        file.create_dataset("names", (1, 894), dtype=h5py.ref_dtype)
    return path


def test_only_two_counts_of_classes(original):
    refused(f"{original}:20", "there are 40 or 13 classes, not 20")


def test_what_does_not_fit_is_refused(original):
    refused(original, "more than the limit of .* image_size", memory_limit=1000)


def test_without_h5py(original, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(original, r"needs h5py; pip install 'bitlens\[mat\]'")
