"""Scenes in parquet files and on the hub; nothing here asks the real one."""

from __future__ import annotations

import io
import subprocess
import sys

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from bitlens.data import SCENES, load_scenes
from bitlens.data.dense import nyudv2
from bitlens.data.dense.rows import SceneRows, read_scene_rows
from bitlens.data.dense.scenes import VOID
from bitlens.errors import BitlensError

HEIGHT, WIDTH = 6, 8
PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def encoded(array: np.ndarray | None) -> dict:
    if array is None:
        return {"bytes": None, "path": None}
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def scenes(n: int, *, labels=(0, 1, 2, VOID), seed: int = 0, **changed) -> dict[str, list]:
    """Columns of n scenes; `mask_1=array` puts something else into row 1."""
    draw = np.random.default_rng(seed)
    size = (n, HEIGHT, WIDTH)
    columns = {
        "image": list(draw.integers(0, 256, (*size, 3), dtype=np.uint8)),
        "label": list(draw.choice(np.array(labels, np.uint8), size)),
        "depth": list(draw.integers(700, 9990, size, dtype=np.uint16)),
    }
    for name, value in changed.items():
        column, row = name.rsplit("_", 1)
        columns[column][int(row)] = value
    return columns


def table(columns: dict[str, list]) -> pa.Table:
    return pa.table(
        {k: pa.array([encoded(v) for v in cells], PICTURE) for k, cells in columns.items()}
    )


@pytest.fixture
def write(tmp_path):
    """Writes train and test as parquet; returns the folder."""

    def write(train, test=None, folder=tmp_path / "rooms"):
        folder.mkdir(exist_ok=True)
        pq.write_table(table(train), folder / "train-00000-of-00001.parquet")
        pq.write_table(table(test or scenes(2, seed=1)), folder / "test-00000-of-00001.parquet")
        return folder

    return write


@pytest.fixture
def published(monkeypatch):
    """Puts splits on a hub that answers."""
    splits = datasets.DatasetDict()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: splits)
    monkeypatch.delenv("BITLENS_DATA", raising=False)

    def publish(**columns):
        for split, rows in columns.items():
            held = datasets.Dataset(table(rows))
            for column in held.column_names:
                held = held.cast_column(column, datasets.Image())
            splits[split] = held
        return splits

    return publish


def test_parquet_is_read_as_written(write):
    train, test = scenes(3), scenes(2, labels=(0, 1, VOID), seed=1)
    data = load_scenes(f"parquet:{write(train, test)}")
    for part, columns in ((data.train, train), (data.test, test)):
        np.testing.assert_array_equal(part.images.permute(0, 2, 3, 1), columns["image"])
        np.testing.assert_array_equal(part.masks, columns["label"])
        np.testing.assert_array_equal(part.depths, columns["depth"])
    # No names are stored, and the test split lacks the last class.
    assert data.classes == ("0", "1", "2")
    assert (data.crop, data.note) == (None, "")
    small = load_scenes(f"parquet:{write(train, test)}", image_size=3)
    assert small.image_size == small.train.truth_size == (3, 4)
    assert small.test.image_size == (3, 4) and small.test.truth_size == (HEIGHT, WIDTH)


def test_masks_or_depths_may_be_all_there_is(write):
    train, test = scenes(3), scenes(2, seed=1)
    for known in ("label", "depth"):
        only = [{k: part[k] for k in ("image", known)} for part in (train, test)]
        data = load_scenes(f"parquet:{write(*only)}")
        assert (data.train.masks is None) == (known == "depth")
        assert (data.train.depths is None) == (known == "label")
        assert data.classes == (() if known == "depth" else ("0", "1", "2"))
    with pytest.raises(BitlensError, match=r"train-.*has no masks and no depths: looked for image"):
        load_scenes(f"parquet:{write({'image': train['image']})}")
    with pytest.raises(BitlensError, match=r"train-.*has no images"):
        load_scenes(f"parquet:{write({'depth': train['depth']})}")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"label_2": np.zeros((HEIGHT, WIDTH - 1), np.uint8)},
            "the mask is 7x6 pixels but its image",
        ),
        ({"depth_2": np.zeros((HEIGHT, WIDTH), np.uint16)}, "the depth is unknown in the whole"),
        ({"depth_2": np.ones((HEIGHT, WIDTH), np.uint8)}, "the depth is of mode L"),
        ({"label_2": np.full((HEIGHT, WIDTH), 256, np.uint16)}, "label 256 of the mask of 16 bits"),
        ({"label_2": None}, "the mask is missing"),
        ({"image_2": None}, "the image is missing"),
    ],
)
def test_bad_rows_are_named(write, changed, said):
    folder = write(scenes(3, **changed))
    with pytest.raises(BitlensError, match=rf"train-00000-of-00001.parquet row 2: {said}"):
        load_scenes(f"parquet:{folder}")


def test_a_row_of_another_size_is_named(write):
    other = scenes(1, seed=5)
    changed = {f"{k}_1": np.repeat(v[0], 2, axis=0) for k, v in other.items()}
    with pytest.raises(BitlensError, match=r"parquet row 1 is 8x12 pixels but .* row 0 is 8x6"):
        load_scenes(f"parquet:{write(scenes(3, **changed))}")


def test_a_test_split_with_new_classes_is_refused(write):
    folder = write(scenes(3), scenes(2, labels=(0, 9), seed=1))
    with pytest.raises(
        BitlensError, match=r"test-.*row 0: label 9 .* beyond the classes, .* 0 to 2"
    ):
        load_scenes(f"parquet:{folder}")


def test_memory_is_kept_in_bounds(write):
    folder = write(scenes(3))
    with pytest.raises(BitlensError, match=r"3 scenes like .* more than the limit"):
        load_scenes(f"parquet:{folder}", memory_limit=700)


def test_specs_and_sizes_are_checked(tmp_path):
    with pytest.raises(BitlensError, match="unknown set of scenes 'nyuv2'; did you mean nyudv2"):
        load_scenes("nyuv2")
    with pytest.raises(BitlensError, match="'mat:' lacks what comes after the colon"):
        load_scenes("mat:")
    with pytest.raises(BitlensError, match="image_size must be at least 1 pixel, got 0"):
        load_scenes("nyudv2", image_size=0)
    with pytest.raises(BitlensError, match="is not a folder; it needs train"):
        load_scenes(f"parquet:{tmp_path / 'absent'}")
    assert {"nyudv2", "nyudv2-13", "mat:PATH", "scenes:PATH", "hub:NAME"} <= set(SCENES)


def test_knowing_the_names_imports_nothing_heavy():
    code = (
        "import sys, bitlens.data, bitlens.data.dense; bitlens.data.SCENES; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'datasets', 'pyarrow', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_set_of_the_hub_is_read(published):
    train, odd = scenes(3), scenes(2, seed=1)
    published(train=train, teset=odd)
    data = load_scenes("hub:me/rooms")
    assert (data.name, data.note) == ("hub:me/rooms", "tested on the teset split")
    np.testing.assert_array_equal(data.test.depths, odd["depth"])
    published(val=scenes(1, seed=2))
    assert len(load_scenes("hub:me/rooms").test) == 1
    published(test=scenes(1, seed=3, label_0=np.zeros((2, 2), np.uint8)))
    with pytest.raises(BitlensError, match="hub:me/rooms test row 0: the mask is 2x2"):
        load_scenes("hub:me/rooms")


def test_arrays_of_the_hub_are_read(published):
    splits, columns = published(), scenes(2)
    features = datasets.Features(
        rgb=datasets.Image(),
        segmentation=datasets.Array2D((HEIGHT, WIDTH), "int64"),
        depth=datasets.Array3D((1, HEIGHT, WIDTH), "float32"),
    )
    signed = [np.where(mask == VOID, -1, mask).astype(np.int64) for mask in columns["label"]]
    metres = [depth[None].astype(np.float32) / 1000 for depth in columns["depth"]]
    rows = {"rgb": columns["image"], "segmentation": signed, "depth": metres}
    splits["train"] = splits["test"] = datasets.Dataset.from_dict(rows, features=features)
    data = load_scenes("hub:me/rooms")
    np.testing.assert_array_equal(data.train.masks, columns["label"])
    np.testing.assert_array_equal(data.train.depths, columns["depth"])


def test_sets_of_the_hub_need_two_splits_and_images(published):
    splits = published(train=scenes(2))
    with pytest.raises(BitlensError, match="needs a train and a test split, it has train"):
        load_scenes("hub:me/rooms")
    splits["test"] = splits["train"].remove_columns("image").add_column("image", [1, 2])
    with pytest.raises(BitlensError, match=r"hub:me/rooms test: column 'image' holds .*not images"):
        load_scenes("hub:me/rooms")


def test_nyudv2_of_the_hub_keeps_or_drops_the_official_numbers(published):
    every = np.arange(41 * 2).reshape(2, 41) % 41
    official = scenes(2, labels=range(41), seed=3)
    official["label"][0].flat[:41] = every[0]
    published(train=official, test=official)
    data = load_scenes("nyudv2")
    stored = np.stack(official["label"]).astype(int)
    np.testing.assert_array_equal(data.train.masks, np.where(stored == 0, VOID, stored - 1))
    assert data.note == f"the copy hub:{nyudv2.REPOSITORY}"
    ours = scenes(2, labels=(*range(40), VOID), seed=4)
    published(train=ours, test=ours)
    np.testing.assert_array_equal(load_scenes("nyudv2").train.masks, ours["label"])


def test_nyudv2_of_the_hub_does_without_depths_of_8_bits(published):
    rows = scenes(2, labels=range(41))
    rows["label"][0].flat[0] = 40
    rows["depth"] = [(depth >> 8).astype(np.uint8) for depth in rows["depth"]]
    published(train=rows, test=rows)
    data = load_scenes("nyudv2-13")
    assert data.train.depths is None and data.test.depths is None
    assert "8 bits" in data.note and len(data.classes) == 13


def test_absent_nyudv2_says_where_it_was_looked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("BITLENS_DATA", str(tmp_path))
    with pytest.raises(BitlensError, match=r"'nyudv2-13' not found: .*go online once") as caught:
        load_scenes("nyudv2-13")
    assert str(tmp_path / "nyudv2") in str(caught.value)


def test_a_local_copy_counts_from_0_and_a_40_is_refused(write, monkeypatch, tmp_path):
    # Taking one stray 40 for the official numbers would move every class by one, without a word.
    stray = np.zeros((HEIGHT, WIDTH), np.uint8)
    stray[2, 3] = 40
    write(scenes(3, labels=range(40), label_1=stray), folder=tmp_path / "nyudv2")
    monkeypatch.setenv("BITLENS_DATA", str(tmp_path))
    with pytest.raises(BitlensError, match=r"row 1: label 40 .* beyond the classes, .* 0 to 39"):
        load_scenes("nyudv2")


def test_classes_are_counted_before_masks_are_resized(write):
    # One pixel of the last class, where no smaller mask looks.
    lone = np.zeros((HEIGHT, WIDTH), np.uint8)
    lone[0, 0] = 7
    folder = write(scenes(3, label_1=lone), scenes(2, labels=(0, 7), seed=1))
    whole, small = (load_scenes(f"parquet:{folder}", image_size=size) for size in (None, 2))
    assert not (small.train.masks == 7).any()
    assert len(small.classes) == len(whole.classes) == 8


def test_official_numbers_are_known_whatever_the_size(published):
    rows = scenes(2, labels=range(40), seed=3)
    rows["label"][0][0, 0] = 40
    published(train=rows, test=rows)
    whole, small = (load_scenes("nyudv2", image_size=size) for size in (None, 2))
    assert not (small.train.masks == 39).any()
    np.testing.assert_array_equal(small.test.masks, whole.test.masks)


@pytest.mark.parametrize(("label", "told"), [(VOID, "no class at all"), (0, "the class 0 alone")])
def test_train_masks_without_classes_are_refused(write, label, told):
    folder = write(scenes(2, labels=(label,)))
    with pytest.raises(BitlensError, match=rf"train-.*row 0 and the rows after it hold {told}"):
        load_scenes(f"parquet:{folder}")


def cells(**files: bytes) -> SceneRows:
    """A split of one row with these files in it."""
    row = {name: [{"bytes": held, "path": None}] for name, held in files.items()}
    rows = datasets.Dataset(pa.table({k: pa.array(v, PICTURE) for k, v in row.items()}))
    for name in files:
        rows = rows.cast_column(name, datasets.Image())
    return read_scene_rows(rows, where=lambda row: f"row {row}", source="rows")


@pytest.mark.parametrize("bits", [2, 4])
def test_masks_of_few_bits_are_not_stretched(grey_png, bits):
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 2**bits
    image = encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8))["bytes"]
    rows = cells(image=image, mask=grey_png(labels, bits))
    np.testing.assert_array_equal(rows.scene(0).mask, labels)


def test_pictures_of_rows_are_turned_or_refused():
    def file(array, orientation):
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[ExifTags.Base.Orientation] = orientation
        Image.fromarray(array).save(buffer, format="PNG", exif=exif if orientation else None)
        return buffer.getvalue()

    columns = scenes(1)
    image, label = (columns[name][0] for name in ("image", "label"))
    scene = cells(image=file(image, 6), mask=file(label, 6)).scene(0)
    np.testing.assert_array_equal(np.asarray(scene.image), np.rot90(image, -1))
    np.testing.assert_array_equal(scene.mask, np.rot90(label, -1))
    with pytest.raises(BitlensError, match="row 0: EXIF turns the image, and the mask has no EXIF"):
        cells(image=file(image, 3), mask=file(label, 0)).scene(0)


def test_damaged_pictures_are_told_without_addresses():
    good = encoded(np.zeros((HEIGHT, WIDTH), np.uint8))["bytes"]
    for kind, files in (
        ("image", {"image": b"nothing", "mask": good}),
        ("mask", {"image": good, "mask": b"nothing"}),
    ):
        with pytest.raises(BitlensError) as caught:
            cells(**files).scene(0)
        assert str(caught.value) == (
            f"row 0: the {kind} cannot be read: no format that Pillow knows"
        )
