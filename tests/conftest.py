"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bitlens.training.recipe import Recipe

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that runs the tests in the background hands down an ignored Ctrl-C; the tests send real ones.
signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The same sums in the same order on every machine, and no fight over cores under xdist."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder with real data sets that are not part of the project; skips when there is none."""
    candidates = [Path(p) for p in os.environ.get("BITLENS_DATA", "").split(os.pathsep) if p]
    candidates.append(ROOT.parent / "shared" / "data")
    for folder in candidates:
        if (folder / "cifar10").is_dir():
            return folder
    pytest.skip("no folder with cifar10 beside the project or in BITLENS_DATA")


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a recipe's `data` takes: 12 tiny scenes of 24x32 pixels to learn from, 5 to be judged on.

    A wall (1) over a floor (0) with a lamp (2), far at the top and near at the bottom; the mask is void in
    one corner and the depth unknown in another.
    """
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("rooms")
    draw = np.random.default_rng(0)
    rows = np.indices((24, 32))[0]
    for split, count in (("train", 12), ("test", 5)):
        for kind in ("images", "masks", "depths"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            edge = draw.integers(8, 16)
            mask = np.where(rows < edge, 1, 0).astype(np.uint8)
            top, left = draw.integers(4, 16, 2)
            mask[top : top + 5, left : left + 6] = 2
            depth = (4000 - 100 * np.maximum(rows - edge, 0) - 500 * (mask == 2)).astype(np.uint16)
            image = np.array([[90, 60, 30], [180, 180, 200], [250, 220, 40]])[mask]
            image = (image + draw.integers(-20, 20, image.shape)).clip(0, 255).astype(np.uint8)
            mask[:4, :4], depth[-4:, -4:] = 255, 0
            for kind, pixels in (("images", image), ("masks", mask), ("depths", depth)):
                Image.fromarray(pixels).save(folder / split / kind / f"{number}.png")
    (folder / "classes.txt").write_text("floor\nwall\nlamp\n")
    return f"scenes:{folder}"


@pytest.fixture
def tiny_recipe() -> Recipe:
    """A recipe that trains in a second or two."""
    from bitlens.training.recipe import Recipe

    return Recipe(name="tiny", train_images=512, epochs=2, batch_size=64)


@pytest.fixture
def run_bitlens(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own, in an empty folder."""

    def run(
        *arguments: str, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bitlens", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set that trains in no time: 240 + 80 grey images of 8x8 pixels, 4 classes.

    The class is the quadrant that is bright. Returns what a recipe's `data` takes.
    """
    import datasets
    import numpy as np

    folder = tmp_path_factory.mktemp("quadrants")
    draw = np.random.default_rng(0)
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b", "c", "d"])
    )
    for split, per_class in (("train", 60), ("test", 20)):
        labels = np.repeat(np.arange(4), per_class)
        images = draw.integers(0, 120, (len(labels), 8, 8), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            top, left = 4 * (label // 2), 4 * (label % 2)
            image[top : top + 4, left : left + 4] += 80
        rows = datasets.Dataset.from_dict({"image": list(images), "label": labels}, features)
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return f"parquet:{folder}"


@pytest.fixture(scope="session")
def run_as_two() -> Callable[[Path, Path], None]:
    """Start a program as a group of two gloo processes, `program folder`, and wait for both."""
    import bitlens

    def run(program: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        group = {
            "PYTHONPATH": str(Path(bitlens.__file__).parents[1]),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        started = [
            subprocess.Popen(
                [sys.executable, "-W", "error", str(program), str(folder)],
                env={**os.environ, **group, "RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            told = [process.communicate(timeout=300)[0] for process in started]
        finally:
            for process in started:
                process.kill()
        for process, text in zip(started, told, strict=True):
            assert process.returncode == 0, text

    return run
