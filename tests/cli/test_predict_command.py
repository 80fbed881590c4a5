"""`bitlens predict`: pictures in, classes out, no torch on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bitlens
from bitlens.data.pixels import read_picture

DRAW = np.random.default_rng(0)
LABELS = ("top", "left", "right", "bottom")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose net takes color images of 12x12 and knows its classes."""
    return _packed(tmp_path_factory.mktemp("packed") / "net.bits", 3, LABELS)


def _packed(path: Path, channels: int, labels: tuple[str, ...]) -> Path:
    from bitlens.data.normalize import normalize
    from bitlens.models import create

    net = create("mlp", method="bireal", classes=4, channels=channels, image_size=12).eval()
    pixels = torch.randint(
        0, 256, (8, channels, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    example = normalize(pixels, mean, std).contiguous()
    bitlens.pack(net, example, mean=mean, std=std, labels=labels).save(path)
    return path


def draw(path: Path, width: int, height: int, mode: str = "RGB") -> str:
    noise = DRAW.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path.name


def probabilities(path: Path, picture: Path, channels: int = 3) -> np.ndarray:
    pixels = read_picture(picture, height=12, width=12, channels=channels)
    logits = bitlens.load(path)(pixels[None])[0].astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum()


def test_one_line_a_picture_most_probable_first(say, packed: Path, tmp_path: Path) -> None:
    names = [
        draw(tmp_path / "a.png", 12, 12),
        draw(tmp_path / "long name.png", 30, 20, "L"),
        draw(tmp_path / "c.bmp", 7, 9),
    ]
    said = say("predict", str(packed), *names)
    assert said.code == 0 and said.err == ""
    lines = said.out.splitlines()
    assert len(lines) == 3
    for name, line in zip(names, lines, strict=True):
        shares = probabilities(packed, tmp_path / name)
        best = np.argsort(-shares, kind="stable")[:3]
        told = ", ".join(f"{LABELS[i]} {100 * shares[i]:.1f} %" for i in best)
        assert line == f"{name:<13}  {told}"


def test_top(say, packed: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 12, 12)
    assert say("predict", str(packed), "a.png", "--top", "1").out.count(",") == 0
    assert say("predict", str(packed), "a.png", "--top", "9").out.count(",") == 3, "there are four"


def test_more_pictures_than_a_batch_holds(
    say, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [draw(tmp_path / f"{number}.png", 12, 12) for number in range(5)]
    whole = say("predict", str(packed), *names).out
    monkeypatch.setattr("bitlens.cli.predict_command.BATCH", 2)
    (tmp_path / "2.png").write_bytes(b"damaged")
    said = say("predict", str(packed), *names, "--threads", "2")
    assert said.code == 2
    assert said.out.splitlines() == [x for x in whole.splitlines() if not x.startswith("2.png")]


def test_a_grey_net_without_names(say, tmp_path: Path) -> None:
    path = _packed(tmp_path / "grey.bits", 1, ())
    draw(tmp_path / "color.png", 20, 20)
    said = say("predict", "grey.bits", "color.png", "--top", "1")
    best = int(probabilities(path, tmp_path / "color.png", 1).argmax())
    assert said.code == 0 and f"color.png  class {best} " in said.out


def test_bad_pictures_are_named_and_the_others_answered(say, packed: Path, tmp_path: Path) -> None:
    good = draw(tmp_path / "good.png", 12, 12)
    (tmp_path / "text.png").write_text("not an image")
    said = say("predict", str(packed), "none.png", good, "text.png")
    assert said.code == 2
    assert said.out.startswith("good.png  ") and said.out.count("\n") == 1
    assert said.err.splitlines() == [
        "bitlens: none.png: No such file or directory",
        "bitlens: text.png: the image cannot be read: no format that Pillow knows",
        "bitlens: predict: 2 of 3 images could not be read",
    ]


def test_a_run_folder_stands_for_its_file(say, packed: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 12, 12)
    (tmp_path / "run").mkdir()
    said = say("predict", "run", "a.png")
    assert said.code == 2 and "run holds no model.bits; make it: bitlens pack run" in said.err
    (tmp_path / "run" / "model.bits").write_bytes(packed.read_bytes())
    assert say("predict", "run", "a.png").out == say("predict", str(packed), "a.png").out


CASES = {
    "nothing": (["predict"], "predict: name a .bits file or a run folder, then the image files"),
    "no images": (["predict", "a.bits"], "then the image files, before the options"),
    "top": (["predict", "a.bits", "b.png", "--top", "0"], "predict: top=0; give at least 1"),
    "threads": (["predict", "a.bits", "b.png", "--threads", "0"], "predict: threads=0; give at"),
    "no file": (["predict", "a.bits", "b.png"], "predict: a.bits does not exist"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(say, tmp_path: Path, name: str) -> None:
    arguments, message = CASES[name]
    said = say(*arguments)
    assert said.code == 2 and said.err.startswith("bitlens: ") and said.err.count("\n") == 1
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_told_in_a_line(say, packed: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 12, 12)
    content = bytearray(packed.read_bytes())
    content[-1] ^= 1
    for damaged in (bytes(content), bytes(content[:100]), b"", b"not a file of ours" * 9):
        (tmp_path / "net.bits").write_bytes(damaged)
        said = say("predict", "net.bits", "a.png")
        assert said.code == 2 and said.err.count("\n") == 1 and "net.bits" in said.err
        assert said.out == ""


def test_no_torch(packed: Path, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 12, 12)
    program = (
        "import sys; from bitlens.cli import main\n"
        f"code = main(['predict', {str(packed)!r}, 'a.png'])\n"
        "print('HEAVY', {'torch', 'datasets', 'pyarrow', 'pandas', 'scipy'} & set(sys.modules))\n"
        "sys.exit(code)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(bitlens.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("a.png  ") and "HEAVY set()" in found.stdout
