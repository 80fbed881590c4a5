"""A picture is read as the data sets' decoder reads it, but without torch and tables."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bitlens
from bitlens.data.decode import decode_cell
from bitlens.data.pixels import fit, read_picture
from bitlens.errors import BitlensError

DRAW = np.random.default_rng(0)


def picture(mode: str, width: int, height: int) -> Image.Image:
    noise = DRAW.integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(noise, "RGBA").convert(mode)


def saved(image: Image.Image, path: Path, **how) -> Path:
    image.save(path, **how)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P"])
@pytest.mark.parametrize("size", [(20, 20), (31, 20), (20, 33), (9, 7), (8, 8)])
def test_pixels_are_those_of_the_data_sets(tmp_path: Path, mode: str, size: tuple) -> None:
    path = saved(picture(mode, *size), tmp_path / "a.png")
    truth = decode_cell({"bytes": path.read_bytes(), "path": None}, 8)
    got = read_picture(path, height=8, width=8, channels=3)
    assert got.dtype == np.uint8 and got.shape == (3, 8, 8) and got.flags.c_contiguous
    np.testing.assert_array_equal(got, np.broadcast_to(truth, (3, 8, 8)))
    if len(truth) == 1:
        grey = read_picture(path, height=8, width=8, channels=1)
        np.testing.assert_array_equal(grey, truth)


def test_a_turned_photograph_is_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(picture("RGB", 40, 24), tmp_path / "a.jpg", exif=exif)
    truth = decode_cell({"bytes": path.read_bytes(), "path": None}, 16)
    np.testing.assert_array_equal(read_picture(path, height=16, width=16, channels=3), truth)


def test_transparent_palettes(tmp_path: Path) -> None:
    path = saved(picture("P", 12, 12), tmp_path / "a.gif", transparency=3)
    truth = decode_cell({"bytes": path.read_bytes(), "path": None}, 8)
    np.testing.assert_array_equal(read_picture(path, height=8, width=8, channels=3), truth)


def test_color_becomes_grey_for_a_grey_net(tmp_path: Path) -> None:
    color = picture("RGB", 8, 8)
    path = saved(color, tmp_path / "a.png")
    got = read_picture(path, height=8, width=8, channels=1)
    r, g, b = np.asarray(color, np.float64).transpose(2, 0, 1)
    np.testing.assert_allclose(got[0], 0.299 * r + 0.587 * g + 0.114 * b, atol=1)


@pytest.mark.parametrize("size", [(20, 30), (30, 20), (64, 10), (10, 64), (12, 6), (3, 3)])
def test_any_shape_is_covered_and_cropped_in_the_middle(size: tuple[int, int]) -> None:
    """A smooth ramp: its middle stays in the middle, and nothing is filled."""
    width, height = size
    ramp = np.add.outer(np.arange(height) * 200 // height, np.arange(width) * 50 // width)
    made = fit(Image.fromarray(ramp.astype(np.uint8) + np.uint8(3)), 12, 6)
    assert made.size == (12, 6)
    pixels = np.asarray(made, np.float64)
    assert pixels.min() >= 3
    assert pixels.mean() == pytest.approx(ramp.mean() + 3, abs=12)


def test_bad_files_are_named(tmp_path: Path) -> None:
    cases = {
        "none.png": (None, "none.png: No such file or directory"),
        "text.png": (b"not an image", "text.png: the image cannot be read"),
        "empty.png": (b"", "empty.png: the image cannot be read"),
    }
    buffer = io.BytesIO()
    picture("RGB", 64, 64).save(buffer, "PNG")
    cases["cut.png"] = (buffer.getvalue()[:3000], "cut.png: the image cannot be read")
    deep = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(deep, "PNG")
    cases["deep.png"] = (deep.getvalue(), "deep.png: .* more than 8 bits per channel")
    for name, (content, message) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BitlensError, match=message):
            read_picture(path, height=8, width=8, channels=3)
    with pytest.raises(BitlensError, match="Is a directory"):
        read_picture(tmp_path, height=8, width=8, channels=3)


def test_16_bit_color_is_refused_as_16_bit_grey_is(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(24)) for _ in range(4))
    png = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path = tmp_path / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    with pytest.raises(BitlensError, match="more than 8 bits per channel"):
        read_picture(path, height=4, width=4, channels=3)


def test_a_hair_of_a_picture_is_cut_before_it_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    own = Image.Image.resize

    def resize(self, size, *rest):
        sizes.append(size)
        return own(self, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", resize)
    pixels = np.zeros((30_000, 1), np.uint8)
    pixels[14_900:15_100] = 200
    assert (np.asarray(fit(Image.fromarray(pixels), 8, 8)) == 200).all()
    assert (np.asarray(fit(Image.fromarray(pixels.T), 8, 8)) == 200).all()
    assert max(map(max, sizes)) <= 16 * 8


def test_large_pictures_are_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(picture("L", 50, 30), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_picture(path, height=8, width=8, channels=1).shape == (1, 8, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BitlensError, match=r"a\.png: the image cannot be read: .*exceeds limit"):
        read_picture(path, height=8, width=8, channels=1)


def test_pillows_reason_is_told_once(tmp_path: Path) -> None:
    whole = saved(picture("RGB", 64, 64), tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:3000])
    with pytest.raises(BitlensError) as found:
        read_picture(tmp_path / "cut.png", height=8, width=8, channels=3)
    assert "truncated" in str(found.value) and str(found.value).count("cut.png") == 1


def test_no_torch_and_no_tables() -> None:
    code = "import sys, bitlens.data.pixels; print(*{m.split('.')[0] for m in sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(bitlens.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "datasets", "pyarrow", "pandas"} & set(found.stdout.split())
