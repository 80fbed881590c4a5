"""Pixels of the sheets against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bitlens.data.dense.pictures import VOID, class_colors, viridis
from bitlens.studies.dense import tiles
from bitlens.studies.dense.lettering import bar, breadth, fitting, legend
from bitlens.studies.dense.predictions import Answer, Maps, Scene
from bitlens.studies.dense.sheets import Shown, depth_sheet, segmentation_sheet

SIZE = (8, 12)


def pixels(tile: Image.Image) -> np.ndarray:
    return np.asarray(tile).astype(int)


def test_tiles_keep_the_shape_of_the_truth() -> None:
    assert tiles.tile_size((192, 256)) == (192, 256)
    assert tiles.tile_size((480, 640)) == (192, 256)
    assert tiles.tile_size((360, 480)) == (192, 256)
    assert tiles.tile_size((1, 1000)) == (1, 256)


def test_nearest_takes_the_pixel_whose_centre_is_nearest() -> None:
    values = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(
        tiles.nearest(values, (4, 6)), values.repeat(2, axis=0).repeat(2, axis=1)
    )
    np.testing.assert_array_equal(tiles.nearest(np.arange(9).reshape(3, 3), (1, 1)), [[4]])


def test_a_class_has_the_color_that_predict_gives_it_and_void_none() -> None:
    classes = np.full(SIZE, 3, np.uint8)
    classes[:4] = VOID
    made = pixels(tiles.classes_tile(classes, SIZE))
    assert (made[4:] == class_colors()[3]).all()
    held = {tuple(color) for color in made[:4].reshape(-1, 3).tolist()}
    assert held == {tiles.HATCH, tiles.PAPER}


def test_wrong_pixels_are_marked_and_unknown_ones_hatched() -> None:
    true, said = np.zeros((2, SIZE[0], SIZE[1]), np.uint8)
    said[:, 6:] = 1
    true[:, :2] = VOID
    made = pixels(tiles.wrong_tile(said, true, SIZE))
    assert (made[:, 6:] == tiles.WRONG).all() and (made[:, 2:6] == tiles.RIGHT).all()
    assert not (made[:, :2] == tiles.RIGHT).all(-1).any()


def test_depths_go_from_purple_to_yellow_and_errors_from_white_to_red() -> None:
    ends = viridis(np.array([-1.0, 0.0, 1.0, 2.0]))
    assert ends.tolist() == [[68, 1, 84], [68, 1, 84], [253, 231, 37], [253, 231, 37]]
    depth = np.full(SIZE, 2.0)
    depth[0, 0] = 0
    made = pixels(tiles.depth_tile(depth, 4.0, SIZE))
    assert (made[1:] == viridis(np.array([0.5]))[0]).all()
    assert tuple(made[0, 0]) in (tiles.HATCH, tiles.PAPER)
    error = pixels(tiles.error_tile(np.full(SIZE, 3.0), depth, 2.0, SIZE))
    assert (error[1:] == tiles.heat(np.array([0.5]))[0]).all()
    assert tiles.heat(np.array([0.0, 9.0])).tolist() == [list(tiles.HEAT[0]), list(tiles.HEAT[-1])]


def test_the_frame_lies_on_the_edge_of_what_is_judged() -> None:
    blank = Image.new("RGB", (256, 192), (10, 200, 30))
    made = pixels(tiles.frame(blank.copy(), (45 / 480, 471 / 480, 41 / 640, 601 / 640)))
    # Rows 18:188 and columns 16:240 of 192 x 256: white inside, black around it, nothing else changed.
    assert (made[18, 16:240] == 255).all() and (made[187, 16:240] == 255).all()
    assert (made[18:188, 16] == 255).all() and (made[18:188, 239] == 255).all()
    assert (made[17, 15:241] == 0).all() and (made[188, 15:241] == 0).all()
    assert (made[19:187, 17:239] == (10, 200, 30)).all()
    assert tiles.frame(blank, None) is blank


def test_grey_and_color_photographs() -> None:
    grey = np.full((4, 6, 1), 77, np.uint8)
    made = tiles.photograph(grey, SIZE)
    assert made.size == (12, 8) and (pixels(made) == 77).all()
    assert tiles.photograph(np.zeros((4, 6, 3), np.uint8), SIZE).mode == "RGB"


def test_a_legend_breaks_where_it_is_full() -> None:
    entries = [(f"class number {number}", (number, 0, 0)) for number in range(9)]
    one = legend(entries[:1], 2000)
    assert legend(entries, 2000).height == one.height
    assert legend(entries, 500).height > 2 * one.height
    assert legend(entries, 500).width == 500


def test_words_that_are_too_long_are_cut() -> None:
    cut = fitting("binary with CMIM and much more", 100)
    assert cut.endswith("..") and breadth(cut) <= 100
    assert fitting("short", 100) == "short"


def test_a_bar_shows_its_colors_in_order() -> None:
    made = pixels(bar("depth, metres", viridis, [0, 1, 2], 300))
    row = made[24 + 9]
    np.testing.assert_allclose(row[1], viridis(np.array([0.0]))[0], atol=3)
    np.testing.assert_allclose(row[300 - 24 - 2], viridis(np.array([1.0]))[0], atol=4)


@pytest.fixture
def shown() -> Shown:
    draw = np.random.default_rng(0)

    def maps() -> Maps:
        return Maps(
            classes=draw.integers(0, 2, (6, 8), dtype=np.uint8),
            metres=draw.uniform(0.5, 3.7, (6, 8)).astype(np.float32),
        )

    scenes = [
        Scene(number=at, image=draw.integers(0, 256, (3, 4, 3), dtype=np.uint8), truth=maps())
        for at in (2, 5)
    ]
    metrics = {"pixel_accuracy": 0.5, "rmse": 0.25, "delta1": float("nan")}
    nets = [
        (name, [Answer(maps=maps(), metrics=metrics) for _ in scenes]) for name in ("float", "one")
    ]
    return Shown(title="t", scenes=scenes, nets=nets, classes=("a", "b"), crop=None)


@pytest.mark.parametrize("sheet", [segmentation_sheet, depth_sheet])
def test_a_sheet_has_a_column_for_each_net_and_one_for_errors(sheet, shown: Shown) -> None:
    made = sheet(shown)
    assert made.width == 5 * 256 + 4 * 8 + 2 * 16
    assert made.height > 2 * 192
    fewer = Shown(
        title="t", scenes=shown.scenes[:1], nets=shown.nets[1:], classes=shown.classes, crop=None
    )
    smaller = sheet(
        Shown(
            title="t",
            scenes=fewer.scenes,
            nets=[("one", fewer.nets[0][1][:1])],
            classes=fewer.classes,
            crop=None,
        )
    )
    assert smaller.width == made.width - 256 - 8 and smaller.height < made.height - 192


def test_the_truth_stands_in_the_second_column(shown: Shown) -> None:
    made = pixels(segmentation_sheet(shown))
    truth = shown.scenes[0].truth.classes
    assert truth is not None
    top, left = 60, 16 + 256 + 8
    at = made[top + 16 : top + 192 : 32, left + 16 : left + 256 : 32]
    np.testing.assert_array_equal(at, class_colors()[truth])
