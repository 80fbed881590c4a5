"""Time of a binary ResNet-18 at 224x224 in the packed engine, whole and node by node.

The net is random: speed does not depend on the weights. Run `python benchmarks/engine_net.py --nodes`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict

import numpy as np

from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.run.session import Session
from bitlens.engine.words import pack_blocks

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Net:
    """Collects nodes, values and random tensors."""

    def __init__(self, size: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.values: dict[str, Value] = {}
        self.value("image", "u8", (size, size, 3))

    def value(self, name: str, kind: str, shape: tuple[int, int, int]) -> str:
        self.values[name] = Value(name=name, kind=kind, shape=shape)
        return name

    def tensor(self, name: str, array: np.ndarray) -> str:
        self.tensors[name] = array
        return name

    def numbers(self, name: str, count: int, low: float, high: float) -> str:
        return self.tensor(name, self.random.uniform(low, high, count).astype(np.float32))

    def norm(self, name: str, count: int, gain: float) -> Step:
        a = self.numbers(f"{name}.gain", count, gain / 2, gain)
        b = self.numbers(f"{name}.shift", count, -0.5, 0.5)
        return Step(op="multiply_add", a=a, b=b)

    def signs(self, name: str, shape: tuple[int, int, int]) -> Step:
        self.value(name, "codes", shape)
        return Step(op="sign", a=self.numbers(f"{name}.threshold", shape[2], -0.3, 0.3), value=name)

    def int8(self, name: str, o: int, kernel: int, c: int) -> dict[str, str]:
        weights = self.random.integers(-127, 128, (o, kernel, kernel, c)).astype(np.int8)
        scale = 1.0 / (127 * 128 * kernel * np.sqrt(c))
        return {
            "weights": self.tensor(f"{name}.weights", weights),
            "scale": self.numbers(f"{name}.scale", o, scale / 2, scale),
            "zero": self.tensor(f"{name}.zero", np.full(c, 128, np.float32)),
        }


def resnet18(size: int = 224, width: int = 64, classes: int = 1000, seed: int = 0) -> Graph:
    """A residual around every 3x3 convolution, shortcuts of 2x2 means and int8 1x1 convolutions."""
    net = Net(size, seed)
    shape = _stem(net, size, width)
    x = "stem.out"
    for stage in range(4):
        for block in range(4):
            x, shape = _unit(net, f"{stage}.{block}", x, shape, down=stage > 0 and block == 0)
    _head(net, x, shape, classes)
    return Graph(
        nodes=tuple(net.nodes),
        values=net.values,
        tensors=net.tensors,
        input="image",
        output="logits",
        output_rank=2,
        mean=MEAN,
        std=STD,
    )


def _stem(net: Net, size: int, width: int) -> tuple[int, int, int]:
    half, quarter = size // 2, size // 4
    net.value("stem", "float", (half, half, width))
    net.nodes.append(
        Node(
            name="stem",
            op="int8_conv",
            inputs=("image",),
            shape=(half, half, width),
            window=Window(kernel=(7, 7), stride=(2, 2), pads=(3, 3, 3, 3)),
            steps=(net.norm("stem.norm", width, 1.0), Step(op="store", value="stem")),
            **net.int8("stem", width, 7, 3),
        )
    )
    shape = (quarter, quarter, width)
    net.value("pooled", "float", shape)
    net.value("stem.out", "float", shape)
    net.nodes.append(
        Node(
            name="pool",
            op="max_pool",
            inputs=("stem",),
            shape=shape,
            window=Window(kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1)),
            steps=(Step(op="store", value="pooled"),),
        )
    )
    clamp = Step(op="clamp", low=0.0)
    out = (clamp, Step(op="store", value="stem.out"), net.signs("stem.out.signs", shape))
    net.nodes.append(
        Node(name="relu", op="elementwise", inputs=("pooled",), shape=shape, steps=out)
    )
    return shape


def _unit(
    net: Net, name: str, x: str, shape: tuple[int, int, int], *, down: bool
) -> tuple[str, tuple[int, int, int]]:
    height, width, c = shape
    stride, o = (2, 2 * c) if down else (1, c)
    out = (height // stride, width // stride, o)
    residual = _shortcut(net, name, x, shape, out) if down else x
    weights = np.where(net.random.random((o, c, 3, 3)) < 0.5, -1, 1)
    net.value(f"{name}.out", "float", out)
    steps = (
        Step(op="multiply", a=net.numbers(f"{name}.scale", o, 0.01, 0.03)),
        net.norm(f"{name}.norm", o, 1.0),
        Step(op="add_value", value=residual),
        Step(op="prelu", a=net.numbers(f"{name}.slope", o, 0.1, 0.4)),
        Step(op="store", value=f"{name}.out"),
        net.signs(f"{name}.out.signs", out),
    )
    net.nodes.append(
        Node(
            name=name,
            op="binary_conv",
            inputs=(f"{x}.signs",),
            shape=out,
            window=Window(kernel=(3, 3), stride=(stride, stride), pads=(1, 1, 1, 1)),
            weights=net.tensor(f"{name}.weights", pack_blocks(weights)),
            steps=steps,
        )
    )
    return f"{name}.out", out


def _shortcut(
    net: Net, name: str, x: str, shape: tuple[int, int, int], out: tuple[int, int, int]
) -> str:
    c, o = shape[2], out[2]
    mean = net.value(f"{name}.mean", "u8", (*out[:2], c))
    net.nodes.append(
        Node(
            name=mean,
            op="avg_pool",
            inputs=(x,),
            shape=(*out[:2], c),
            window=Window(kernel=(2, 2), stride=(2, 2)),
            attributes={"count": "inside"},
            steps=(Step(op="quantize", value=mean, scale=32.0, zero=128),),
        )
    )
    short = net.value(f"{name}.short", "float", out)
    net.nodes.append(
        Node(
            name=short,
            op="int8_conv",
            inputs=(mean,),
            shape=out,
            steps=(net.norm(short, o, 1.0), Step(op="store", value=short)),
            **net.int8(short, o, 1, c),
        )
    )
    return short


def _head(net: Net, x: str, shape: tuple[int, int, int], classes: int) -> None:
    height, width, c = shape
    net.value("features", "u8", (1, 1, c))
    net.nodes.append(
        Node(
            name="mean",
            op="avg_pool",
            inputs=(x,),
            shape=(1, 1, c),
            window=Window(kernel=(height, width)),
            attributes={"count": "inside"},
            steps=(Step(op="quantize", value="features", scale=32.0, zero=128),),
        )
    )
    net.value("logits", "float", (1, 1, classes))
    net.nodes.append(
        Node(
            name="head",
            op="int8_conv",
            inputs=("features",),
            shape=(1, 1, classes),
            steps=(
                Step(op="add", a=net.numbers("head.bias", classes, -1, 1)),
                Step(op="store", value="logits"),
            ),
            **net.int8("head", classes, 1, c),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--nodes", action="store_true", help="time of each node")
    arguments = parser.parse_args()
    graph = resnet18()
    started = time.perf_counter()
    session = Session(graph)
    print(f"{session.kernel}, planned in {1e3 * (time.perf_counter() - started):.0f} ms")
    print(session.memory)
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 224, 224), np.uint8)
    session(image)
    seconds = []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        session(image)
        seconds.append(time.perf_counter() - started)
    print(f"median {1e3 * statistics.median(seconds):.3f} ms, least {1e3 * min(seconds):.3f} ms")
    if arguments.nodes:
        total: dict[str, float] = defaultdict(float)
        for name, op, second in session.profile(image, 50):
            print(f"{1e6 * second:9.1f} us  {op:12s} {name}")
            total[op] += second
        for op, second in sorted(total.items(), key=lambda item: -item[1]):
            print(f"{1e6 * second:9.1f} us  {op}")


if __name__ == "__main__":
    main()
