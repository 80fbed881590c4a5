"""`bitlens predict` with nets of dense prediction: masks and depths as pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import bitlens
from bitlens.data.normalize import normalize
from bitlens.tasks.depth import to_metres
from bitlens.tasks.resize import upsample_outputs

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
HEIGHT, WIDTH = 18, 29
NAMES = ("wall", "floor", "bed")


class Strided(nn.Module):
    """Outputs at a quarter of the size, from binary and float layers."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, padding=1)
        self.conv = nn.Conv2d(32, 32, 3, 2, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.head = nn.Conv2d(32, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(self.stem(x))))


def pack(path: Path, heads: dict[str, int] | None, labels: tuple[str, ...] = ()) -> Path:
    torch.manual_seed(3)
    net = Strided(4 if heads is None else sum(heads.values()))
    net = bitlens.binarize(net, "bireal", keep_float=("stem", "head")).eval()
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=draw)
    example = normalize(pixels, MEAN, STD).contiguous()
    bitlens.pack(net, example, mean=MEAN, std=STD, labels=labels, heads=heads).save(path)
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    return pack(folder / "both.bits", {"segment": 3, "depth": 1}, NAMES)


def draw(path: Path, height: int, width: int, mode: str = "RGB") -> np.ndarray:
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height)).convert(mode)
    image.save(path)
    return np.asarray(image)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_at_the_nets_size_the_maps_are_those_that_are_judged(
    say, both: Path, tmp_path: Path
) -> None:
    pixels = draw(tmp_path / "room.png", HEIGHT, WIDTH)
    said = say("predict", str(both), "room.png", "--out", "made/here")
    assert said.code == 0 and said.err == "", said.err
    made = tmp_path / "made" / "here"
    endings = ("depth-color.png", "depth.png", "mask.png", "overlay.png")
    assert sorted(p.name for p in made.iterdir()) == [f"room.{ending}" for ending in endings]
    answer = bitlens.load(both)(pixels.transpose(2, 0, 1)[None])
    (expected,) = upsample_outputs(torch.from_numpy(answer), (HEIGHT, WIDTH))
    classes = expected[:3].argmax(0).numpy()
    close = expected[:3].topk(2, dim=0).values.diff(dim=0)[0].abs().numpy() < 1e-4
    mask = read(made / "room.mask.png")
    assert ((mask == classes) | close).all() and close.mean() < 0.05
    metres = to_metres(expected[3]).numpy()
    np.testing.assert_allclose(read(made / "room.depth.png") / 1000, metres, atol=0.002)
    assert read(made / "room.overlay.png").shape == (HEIGHT, WIDTH, 3)
    shares = np.bincount(mask.reshape(-1), minlength=3) / mask.size
    best = np.argsort(-shares, kind="stable")
    told = ", ".join(f"{NAMES[i]} {100 * shares[i]:.1f} %" for i in best if shares[i])
    near, far = read(made / "room.depth.png").min(), read(made / "room.depth.png").max()
    assert said.out == f"room.png  {told}; depth {near / 1000:.2f} .. {far / 1000:.2f} m\n"


@pytest.mark.parametrize("size", [(36, 58), (9, 40), (50, 11), (HEIGHT, WIDTH + 1)])
def test_pictures_of_any_size_get_maps_of_their_own(
    say, both: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    draw(tmp_path / "grey.jpg", *size, mode="L")
    assert say("predict", str(both), "grey.jpg", "-o", "out").code == 0
    for ending in ("mask", "overlay", "depth", "depth-color"):
        assert read(tmp_path / "out" / f"grey.{ending}.png").shape[:2] == size


@pytest.mark.parametrize("size", [(60, 31), (25, 90)], ids=["tall", "wide"])
def test_what_was_filled_up_is_cut_before_the_answer_is_enlarged(
    say, both: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    draw(tmp_path / "a.png", *size)
    assert say("predict", str(both), "a.png", "--out", "out").code == 0
    with Image.open(tmp_path / "a.png") as image:
        scale = min(HEIGHT / size[0], WIDTH / size[1])
        inside = round(size[0] * scale), round(size[1] * scale)
        small = np.asarray(image.resize(inside[::-1], Image.Resampling.BILINEAR))
    missing = ((0, HEIGHT - inside[0]), (0, WIDTH - inside[1]), (0, 0))
    assert max(max(missing[0]), max(missing[1])) > 5
    frame = np.pad(small, missing, mode="edge").transpose(2, 0, 1)
    answer = torch.from_numpy(bitlens.load(both)(np.ascontiguousarray(frame)[None]))
    judged = upsample_outputs(answer, (HEIGHT, WIDTH))[:, :, : inside[0], : inside[1]]
    (expected,) = torch.nn.functional.interpolate(judged, size, mode="bilinear")
    close = expected[:3].topk(2, dim=0).values.diff(dim=0)[0].abs().numpy() < 1e-4
    mask = read(tmp_path / "out" / "a.mask.png")
    assert ((mask == expected[:3].argmax(0).numpy()) | close).all() and close.mean() < 0.05
    metres = to_metres(expected[3]).numpy()
    np.testing.assert_allclose(
        read(tmp_path / "out" / "a.depth.png") / 1000, metres, atol=0.0006, rtol=1e-4
    )


def test_a_picture_named_twice_is_answered_once(say, both: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 20, 30)
    said = say("predict", str(both), "a.png", "./a.png", str(tmp_path / "a.png"), "--out", "out")
    assert said.code == 0 and said.out.count("\n") == 1 and said.out.startswith("a.png  "), said.err


def test_heads_that_a_net_does_not_have_make_no_pictures(say, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 20, 20)
    for name, heads in (("segment", {"segment": 4}), ("depth", {"depth": 1})):
        path = pack(tmp_path / f"{name}.bits", heads)
        said = say("predict", str(path), "a.png", "--out", name, "--top", "1")
        assert said.code == 0, said.err
        assert ("class " in said.out) == (name == "segment") and ", " not in said.out
        assert (" m\n" in said.out) == (name == "depth")
    assert sorted(p.name for p in (tmp_path / "segment").iterdir()) == [
        "a.mask.png",
        "a.overlay.png",
    ]
    assert sorted(p.name for p in (tmp_path / "depth").iterdir()) == [
        "a.depth-color.png",
        "a.depth.png",
    ]


def test_its_own_pictures_are_replaced_and_none_that_is_read(
    say, both: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "a.png", 20, 30)
    first = say("predict", str(both), "a.png", "--out", ".")
    assert first.code == 0
    before = read(tmp_path / "a.mask.png")
    assert say("predict", str(both), "a.png", "--out", ".").out == first.out
    np.testing.assert_array_equal(read(tmp_path / "a.mask.png"), before)
    said = say("predict", str(both), "a.png", "a.overlay.png", "--out", ".")
    assert said.code == 2 and "a.overlay.png would be written over a picture" in said.err


def test_two_pictures_of_one_name(say, both: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        draw(tmp_path / folder / "x.png", 8, 8)
    said = say("predict", str(both), "a/x.png", "b/x.png", "--out", "out")
    assert said.code == 2 and "a/x.png and b/x.png would both be written to" in said.err
    assert not (tmp_path / "out").exists()


def test_bad_pictures_are_named_and_the_others_answered(say, both: Path, tmp_path: Path) -> None:
    draw(tmp_path / "good.png", 20, 30)
    (tmp_path / "text.png").write_text("not an image")
    said = say("predict", str(both), "text.png", "good.png", "--out", "out")
    assert said.code == 2 and said.out.startswith("good.png  ")
    assert "text.png: the image cannot be read" in said.err
    assert "1 of 2 images could not be read" in said.err


def test_what_is_missing_is_told(say, both: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 8, 8)
    said = say("predict", str(both), "a.png")
    assert said.code == 2 and "name a folder for the pictures: --out FOLDER" in said.err
    unsaid = pack(tmp_path / "unsaid.bits", None)
    said = say("predict", str(unsaid), "a.png", "--out", "out")
    assert said.code == 2 and "does not say what it means" in said.err
    (tmp_path / "taken").write_text("")
    said = say("predict", str(both), "a.png", "--out", "taken")
    assert said.code == 2 and "taken cannot be a folder" in said.err


def test_no_torch_on_the_way(both: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 20, 30)
    code = (
        "import sys; from bitlens.cli import main\n"
        f"assert main(['predict', {str(both)!r}, 'a.png', '--out', 'out']) == 0\n"
        "assert not {'torch', 'datasets', 'scipy', 'h5py'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
