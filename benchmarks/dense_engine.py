"""A dense ResNet-18 on 480x640 images: packed, and in ONNX Runtime and OpenVINO, float32 and int8.

    python benchmarks/dense_engine.py [--rounds 20] [--clock cpu] [--model dense-resnet18-bireal]

Segmentation in 13 classes and depth from one net. The other engines run the packed net's own topology;
everything answers one image at a time on one thread, in turns in one process, and ratios are medians over
rounds of times taken in the same round. Then the bytes of the file, and of the same net's float weights.
Weights are random, batch norms have random gains and shifts and statistics of random images: no time
depends on them. `--clock cpu` counts processor time, for a machine that has other work. Rows are appended
to results/dense_engine.csv. Needs the extra [bench].
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rows import append_rows, timing_row
from torch import nn

import bitlens
from bitlens.data.normalize import normalize
from bitlens.engine.bench.peers import prepare
from bitlens.engine.bench.timing import CLOCKS, compare, interleave, load_average
from bitlens.engine.file.format import read
from bitlens.models.dense import DENSE_NETS, create_dense
from bitlens.training.run import environment

RESULTS = Path(__file__).parent.parent / "results" / "dense_engine.csv"
COLUMNS = (
    "net", "height", "width", "engine", "runs", "milliseconds", "p10", "p90", "slower_than_packed", "low",
    "high", "file_bytes", "float_bytes", "float_by_file", "threads", "kernel", "rounds", "clock", "load",
    "cpu", "torch", "onnxruntime", "openvino", "nncf", "numba", "bitlens", "commit", "started",
)  # fmt: skip
PEERS = ("onnxruntime", "onnxruntime-int8", "openvino", "openvino-int8", "torch")
HEADS = {"segment": 13, "depth": 1}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS = (96, 128)
"""Height and width of the images that batch norms and int8 ranges are taken from."""

Row = dict[str, object]


def random_net(model: str, size: tuple[int, int]) -> nn.Module:
    """A net in evaluation mode whose batch norms do something."""
    net = create_dense(model, method="bireal", heads=HEADS, channels=3, image_size=size)
    draw = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=draw)
            nn.init.normal_(module.bias, 0, 0.1, generator=draw)
        else:
            # Shifts and slopes differ from channel to channel in a trained net; equal ones share bytes.
            for own in module.parameters(recurse=False):
                if own.dim() == 1:
                    own.data += 0.05 * torch.randn(own.shape, generator=draw)
    bitlens.recalibrate(net, [random_images(4, STATISTICS)])
    return net.eval()


def random_images(count: int, size: tuple[int, int]) -> torch.Tensor:
    """Random bytes (n, 3, h, w), normalised."""
    draw = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (count, 3, *size), generator=draw, dtype=torch.uint8)
    return normalize(pixels, MEAN, STD)


def measure(path: Path, net: str, given: argparse.Namespace) -> list[Row]:
    """The packed net and its peers in turns."""
    graph, session = read(path), bitlens.load(path, threads=1)
    float_bytes = graph.meta["float_bytes"]
    assert isinstance(float_bytes, int)
    height, width, channels = graph.values[graph.input].shape
    image = np.random.default_rng(0).integers(0, 256, (1, channels, height, width), dtype=np.uint8)
    runs = {"bitlens": lambda: session(image)}
    runs |= {name: prepare(name, graph, 1).run for name in given.peers.split(",")}
    load = load_average()
    taken = interleave(runs, given.rounds, clock=CLOCKS[given.clock])
    rows = []
    for name, seconds in taken.items():
        timing = compare(seconds, taken["bitlens"])
        print(f"{name:20s} {timing.milliseconds:9.3f} ms  {timing.ratio:6.2f}", flush=True)
        row: Row = {"net": net, "height": height, "width": width, **timing_row(timing)}
        row |= {"engine": name.removesuffix("-int8"), "runs": "same topology, float32"}
        if name == "bitlens":
            row["runs"] = f"packed, {session.kernel}"
            row |= {"file_bytes": path.stat().st_size, "float_bytes": float_bytes}
            row["float_by_file"] = round(float_bytes / path.stat().st_size, 2)
        elif name.endswith("-int8"):
            row["runs"] = "same topology, int8"
        row |= {"threads": 1, "kernel": session.kernel, "clock": given.clock}
        rows.append(row | {"load": None if load is None else round(load, 2)})
    return rows


def place() -> Row:
    """Machine and versions."""
    found = environment(torch.device("cpu"), 1)
    packages = ("onnxruntime", "openvino", "nncf", "numba")
    kept = {key: found[key] for key in ("cpu", "torch", "bitlens", "commit", "started")}
    return {**kept, **{name: version(name) for name in packages}}


def main() -> None:
    """Pack, measure, print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=DENSE_NETS, default="dense-resnet18-bireal")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = given.height, given.width
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.bits"
        images = random_images(1, size)
        packed = bitlens.pack(random_net(given.model, size), images, mean=MEAN, std=STD)
        print(packed.verification, flush=True)
        packed.save(path)
        append_rows(
            given.out,
            COLUMNS,
            [{**row, **place()} for row in measure(path, given.model, given)],
        )


if __name__ == "__main__":
    main()
