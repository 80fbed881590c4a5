"""NYU-Depth-v2: the classes, and the facts of a real copy where there is one."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bitlens.data import load_scenes
from bitlens.data.dense.nyudv2 import CLASSES_13, CLASSES_40, CROP, class_table
from bitlens.data.dense.scenes import VOID


@pytest.fixture(scope="module")
def folder(shared_data):
    if not (shared_data / "nyudv2").is_dir():
        pytest.skip("no nyudv2/ there")
    return shared_data / "nyudv2"


@pytest.fixture(scope="module")
def rooms(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITLENS_DATA", str(folder.parent))
        return load_scenes("nyudv2")


def test_classes_are_told_apart():
    assert len(CLASSES_40) == len(set(CLASSES_40)) == 40
    assert len(CLASSES_13) == len(set(CLASSES_13)) == 13
    assert list(CLASSES_13) == sorted(CLASSES_13)
    table = class_table(CLASSES_13)
    assert set(table[:40]) == set(range(13))
    for name, group in (
        ("door", "wall"),
        ("floor mat", "floor"),
        ("desk", "table"),
        ("sink", "objects"),
    ):
        assert CLASSES_13[table[CLASSES_40.index(name)]] == group


def test_tables_know_both_ways_of_counting():
    ours, official = class_table(CLASSES_40), class_table(CLASSES_40, first=1)
    assert ours[:40].tolist() == list(range(40)) == official[1:41].tolist()
    assert ours[VOID] == official[VOID] == official[0] == VOID
    assert (ours[40:VOID] == -1).all() and (official[41:VOID] == -1).all()
    thirteen = class_table(CLASSES_13, first=1)
    assert (thirteen[1:41] == class_table(CLASSES_13)[:40]).all()


def test_classes_are_those_of_the_copy(folder):
    told = json.loads((folder / "classes.json").read_text())
    assert list(CLASSES_40) == told["classes40"] and list(CLASSES_13) == told["classes13"]
    assert class_table(CLASSES_13)[:40].tolist() == told["map40to13"]


def test_the_crop_is_the_usual_one():
    assert [share * 480 for share in CROP[:2]] == [45, 471]
    assert [share * 640 for share in CROP[2:]] == [41, 601]


def test_the_copy_has_its_published_facts(rooms):
    assert rooms.train.images.shape == (795, 3, 192, 256)
    assert rooms.test.images.shape == (654, 3, 192, 256)
    assert rooms.train.truth_size == rooms.test.truth_size == (192, 256)
    assert rooms.mean == pytest.approx((0.4854, 0.4176, 0.3985), abs=1e-4)
    assert rooms.std == pytest.approx((0.2831, 0.2898, 0.3023), abs=1e-4)
    for part, share, mean, std in (
        (rooms.train, 0.176, 2.8424, 1.4175),
        (rooms.test, 0.171, 2.7402, 1.3452),
    ):
        held = np.bincount(part.masks.numpy().ravel(), minlength=256)
        assert held[VOID] / held.sum() == pytest.approx(share, abs=5e-4)
        assert held[:40].all() and not held[40:VOID].any()
        counts = np.bincount(part.depths.numpy().ravel())
        metres = np.arange(len(counts)) / 1000
        assert metres[counts > 0].min() == pytest.approx(0.725, abs=1e-3)
        assert metres.max() == pytest.approx(9.976, abs=1e-3)
        assert np.average(metres, weights=counts) == pytest.approx(mean, abs=1e-4)
        spread = np.average((metres - mean) ** 2, weights=counts) ** 0.5
        assert spread == pytest.approx(std, abs=1e-4)
    assert rooms.classes == CLASSES_40 and rooms.crop == CROP
    assert "39 mm" in rooms.note and "re-encoded" in rooms.note


def test_rows_are_where_they_were_stored(folder, rooms):
    row = pq.read_table(folder / "test-00000-of-00001.parquet").slice(300, 1).to_pylist()[0]
    image, mask, depth = (
        np.asarray(Image.open(io.BytesIO(row[kind]["bytes"])))
        for kind in ("image", "label", "depth")
    )
    np.testing.assert_array_equal(rooms.test.images[300].permute(1, 2, 0), image)
    np.testing.assert_array_equal(rooms.test.masks[300], mask)
    np.testing.assert_array_equal(rooms.test.depths[300], depth)
    images, truth = next(rooms.test.batches([torch.tensor([300])]))
    assert torch.equal(images[0], rooms.test.images[300])
    np.testing.assert_allclose(truth.depth[0], depth / 1000, rtol=1e-6)


def test_thirteen_classes_are_the_forty_in_groups(folder, rooms, monkeypatch):
    monkeypatch.setenv("BITLENS_DATA", str(folder.parent))
    small = load_scenes("nyudv2-13", image_size=48)
    assert small.classes == CLASSES_13
    assert small.image_size == small.train.truth_size == (48, 64)
    assert small.test.truth_size == (192, 256)
    told = json.loads((folder / "classes.json").read_text())["map40to13"]
    groups = torch.tensor([*told, *[VOID] * 216], dtype=torch.uint8)
    for part in torch.arange(654).split(64):
        assert torch.equal(small.test.masks[part], groups[rooms.test.masks[part].long()])
    # A quarter of the size: the truth is the stored pixel at the center of each block of 4x4.
    assert torch.equal(small.train.masks, groups[rooms.train.masks[:, 2::4, 2::4].long()])
    assert torch.equal(small.train.depths, rooms.train.depths[:, 2::4, 2::4])
