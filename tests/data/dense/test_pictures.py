"""Masks and depths as pictures, read back as a folder of scenes is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.data.dense import pictures
from bitlens.data.dense.decode import read_depth, read_mask
from bitlens.data.dense.scenes import VOID
from bitlens.tasks import depth as judged

DRAW = np.random.default_rng(0)


def test_masks_come_back_as_truth(tmp_path: Path) -> None:
    classes = DRAW.integers(0, 40, (9, 14), dtype=np.uint8)
    classes[0] = VOID
    pictures.save_mask(classes, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode == "P"
        np.testing.assert_array_equal(read_mask(stored, where="a", classes=40), classes)
        colors = np.asarray(stored.convert("RGB"))
    np.testing.assert_array_equal(colors, pictures.class_colors()[classes])


def test_colors_tell_forty_classes_apart() -> None:
    colors = pictures.class_colors().astype(int)
    assert pictures.VOID == VOID and not colors[VOID].any()
    apart = np.abs(colors[:40, None] - colors[None, :40]).sum(2)
    assert apart[~np.eye(40, dtype=bool)].min() > 20
    assert colors[:40].sum(1).min() > 60, "none is as dark as no class"


def test_depths_come_back_in_metres(tmp_path: Path) -> None:
    metres = DRAW.uniform(0, 12, (7, 5)).astype(np.float32)
    stored = pictures.millimetres(metres)
    pictures.save_depth(stored, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode.startswith("I;16")
        found = read_depth(image, where="a")
    clamped = metres.clip(judged.NEAREST, judged.FARTHEST)
    np.testing.assert_allclose(found / 1000, clamped, atol=0.00051)
    assert (pictures.NEAREST, pictures.FARTHEST) == (judged.NEAREST, judged.FARTHEST)


def test_colors_of_depth_grow_brighter(tmp_path: Path) -> None:
    depth = np.linspace(812, 4307, 50).astype(np.uint16)[None].repeat(3, axis=0)
    pictures.save_depth_colors(depth, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["metres"] == "dark purple 0.812, yellow 4.307"
        colors = np.asarray(image).astype(int)
    assert colors[0, 0].tolist() == [68, 1, 84] and colors[2, -1].tolist() == [253, 231, 37]
    luminance = colors[0] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > 0).all()


def test_one_depth_everywhere_has_one_color(tmp_path: Path) -> None:
    pictures.save_depth_colors(np.full((2, 2), 1500, np.uint16), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.getcolors() == [(4, (68, 1, 84))]


def test_an_overlay_is_halfway_to_the_colors(tmp_path: Path) -> None:
    classes = DRAW.integers(0, 3, (6, 8), dtype=np.uint8)
    classes[0, 0] = 2
    pixels = DRAW.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    pictures.save_overlay(Image.fromarray(pixels), classes, ("wall", "floor", "bed"), path)
    colors = pictures.class_colors()
    with Image.open(path) as image:
        found = np.asarray(image).astype(float)
        assert f"#{bytes(colors[2]).hex()} bed" in image.info["classes"].splitlines()
    assert np.abs(found - (pixels / 2 + colors[classes] / 2)).max() <= 0.5


def test_a_mask_that_could_not_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    pictures.save_mask(np.zeros((4, 4), np.uint8), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        pictures.save_mask(np.ones((4, 4), np.uint8), path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_overlays_and_counts_of_all_labels_over_many_rows(tmp_path: Path) -> None:
    pixels = DRAW.integers(0, 256, (300, 5, 3), dtype=np.uint8)
    classes = DRAW.integers(0, 256, (300, 5), dtype=np.uint8)
    names = [f"n{number}" for number in range(255)]
    pictures.save_overlay(Image.fromarray(pixels), classes, names, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        found = np.asarray(image).astype(float)
        assert len(image.info["classes"].splitlines()) == len(set(classes.flat) - {255})
    halfway = (pixels.astype(float) + pictures.class_colors()[classes]) / 2
    np.testing.assert_allclose(found, halfway, atol=0.5)
    np.testing.assert_array_equal(
        pictures.count_classes(classes), np.bincount(classes.reshape(-1), minlength=256)
    )
