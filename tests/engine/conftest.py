"""Random nets that use every node and step, for whoever runs a packed graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bitlens.engine.graph import Graph, Kind, Node, Step, Value, Window
from bitlens.engine.words import pack_blocks, pack_rows

Shape = tuple[int, int, int]


class Maker:
    """Grows a graph node by node, every choice by one generator."""

    def __init__(self, seed: int, size: int = 9) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.tensors: dict[str, np.ndarray] = {}
        self.size = size

    def below(self, count: int) -> int:
        return int(self.random.integers(count))

    def pick(self, choices: Any) -> Any:
        return choices[self.below(len(choices))]

    def value(self, kind: Kind, shape: Shape) -> str:
        name = f"{kind}{len(self.values)}"
        self.values[name] = Value(name=name, kind=kind, shape=shape)
        return name

    def tensor(self, array: np.ndarray) -> str:
        name = f"tensor{len(self.tensors)}"
        self.tensors[name] = array
        return name

    def numbers(self, count: int, low: float = -1.0, high: float = 1.0) -> str:
        return self.tensor(self.random.uniform(low, high, count).astype(np.float32))

    def shaped(self, kind: Kind, shape: Shape | None = None) -> list[str]:
        found = [v for v in self.values.values() if v.kind == kind]
        return [v.name for v in found if shape is None or v.shape == shape]

    def window(self, shape: Shape, *, dilated: bool = True, padded: bool = True) -> Window:
        kernel, stride, dilation, pads = [], [], [], [0, 0, 0, 0]
        for axis in (0, 1):
            kernel.append(1 + self.below(min(3, shape[axis])))
            fits = (shape[axis] - 1) // max(kernel[axis] - 1, 1)
            dilation.append(1 + self.below(min(2, max(fits, 1))) if dilated else 1)
            stride.append(1 + self.below(2))
            if padded:
                pads[axis], pads[axis + 2] = self.below(kernel[axis]), self.below(kernel[axis])
        return Window(
            kernel=(kernel[0], kernel[1]),
            stride=(stride[0], stride[1]),
            dilation=(dilation[0], dilation[1]),
            pads=(pads[0], pads[1], pads[2], pads[3]),
        )

    def out(self, shape: Shape, window: Window, channels: int) -> Shape:
        sides = [
            (shape[i] + window.pads[i] + window.pads[i + 2] - window.dilation[i] * (k - 1) - 1)
            // window.stride[i]
            + 1
            for i, k in enumerate(window.kernel)
        ]
        return sides[0], sides[1], channels

    def steps(self, shape: Shape, *, close: bool = False) -> tuple[Step, ...]:
        """Random arithmetic and sinks; a store alone where t is only close to the reference's."""
        if close:
            return (Step(op="store", value=self.value("float", shape)),)
        c = shape[2]
        steps: list[Step] = []
        readable = self.shaped("float", shape) + self.shaped("float", (1, 1, c))
        made: list[tuple[str, Kind]] = []
        for _ in range(1 + self.below(6)):
            match self.below(10):
                case 0:
                    steps.append(Step(op="multiply", a=self.numbers(c, -0.2, 0.2)))
                case 1:
                    steps.append(Step(op="add", a=self.numbers(c)))
                case 2:
                    a, b = self.numbers(c, -0.2, 0.2), self.numbers(c)
                    steps.append(Step(op="multiply_add", a=a, b=b))
                case 3 | 4 if readable:
                    steps.append(Step(op="add_value", value=self.pick(readable)))
                case 5 if readable:
                    steps.append(Step(op="multiply_value", value=self.pick(readable)))
                    steps.append(Step(op="clamp", low=-8.0, high=8.0))
                case 6:
                    steps.append(Step(op="prelu", a=self.numbers(c, -0.5, 0.5)))
                case 7:
                    steps.append(self._sink("codes", shape, made))
                case 8:
                    steps.append(self._sink("u8", shape, made))
                case _:
                    steps.append(self._sink("float", shape, made))
        steps.append(self._sink(self.pick(("codes", "float", "float", "u8")), shape, made))
        return tuple(steps)

    def _sink(self, kind: Kind, shape: Shape, made: list[tuple[str, Kind]]) -> Step:
        name = self.value(kind, shape)
        made.append((name, kind))
        if kind == "float":
            return Step(op="store", value=name)
        if kind == "u8":
            scale = float(self.random.uniform(1, 60))
            return Step(op="quantize", value=name, scale=scale, zero=self.below(256))
        turned = self.random.integers(0, 2, shape[2]).astype(np.uint8)
        flip = self.tensor(turned) if self.below(2) else None
        return Step(op="sign", value=name, a=self.numbers(shape[2]), b=flip)

    def groups(self, channels: int) -> tuple[int, int]:
        """Groups that divide the channels, and output channels."""
        divisors = [g for g in (1, 1, 2, 3, 4, channels) if channels % g == 0]
        groups = self.pick(divisors)
        each = self.pick((1, 2, 5, 16, 17, 32, 48, 70))
        return groups, groups * (each if groups < 4 else min(each, 16))

    def add(self, op: str) -> None:
        getattr(self, f"add_{op}")()

    def _conv(self, op: str, source: str, more: dict[str, Any], *, close: bool = False) -> None:
        shape = more.pop("out")
        steps = self.steps(shape, close=close)
        name = f"node{len(self.nodes)}"
        self.nodes.append(
            Node(name=name, op=op, inputs=(source,), shape=shape, steps=steps, **more)
        )

    def _geometry(self, source: str) -> dict[str, Any]:
        shape = self.values[source].shape
        window = self.window(shape)
        groups, o = self.groups(shape[2])
        return {"window": window, "groups": groups, "out": self.out(shape, window, o)}

    def _kernel(self, source: str, more: dict[str, Any]) -> tuple[int, int, int, int]:
        kh, kw = more["window"].kernel
        return more["out"][2], self.values[source].shape[2] // more["groups"], kh, kw

    def add_binary_conv(self) -> None:
        source = self.pick(self.shaped("codes"))
        more = self._geometry(source)
        signs = 2 * self.random.integers(0, 2, self._kernel(source, more)) - 1
        more["weights"] = self.tensor(pack_blocks(signs, more["groups"]))
        more["pad"], more["unit"] = self.pick((0, 1, -1)), bool(self.below(2))
        self._conv("binary_conv", source, more)

    def add_int8_conv(self) -> None:
        source = self.pick(self.shaped("u8"))
        more = self._geometry(source)
        o, cg, kh, kw = self._kernel(source, more)
        weights = self.random.integers(-128, 128, (o, kh, kw, cg)).astype(np.int8)
        more["weights"] = self.tensor(weights)
        more["scale"] = self.numbers(o, 0.0001, 0.001)
        zeros = self.random.integers(0, 256, cg * more["groups"]).astype(np.float32)
        more["zero"] = self.tensor(zeros)
        self._conv("int8_conv", source, more)

    def add_float_conv(self) -> None:
        source = self.pick(self.shaped("float"))
        more = self._geometry(source)
        o, cg, kh, kw = self._kernel(source, more)
        weights = self.random.uniform(-0.2, 0.2, (o, kh, kw, cg)).astype(np.float32)
        more["weights"] = self.tensor(weights)
        self._conv("float_conv", source, more, close=True)

    def add_sign_conv(self) -> None:
        source = self.pick(self.shaped("float"))
        more = self._geometry(source)
        signs = 2 * self.random.integers(0, 2, self._kernel(source, more)) - 1
        more["weights"] = self.tensor(pack_rows(signs))
        self._conv("sign_conv", source, more, close=True)

    def add_max_pool(self) -> None:
        source = self.pick(self.shaped("float"))
        shape = self.values[source].shape
        window = self.window(shape)
        # Every window sees something of the image: pads smaller than the kernel do not ensure it.
        pads = tuple(
            min(p, 1) if k > 1 else 0 for p, k in zip(window.pads, window.kernel * 2, strict=True)
        )
        window = Window(kernel=window.kernel, stride=window.stride, pads=pads)
        self._conv("max_pool", source, {"window": window, "out": self.out(shape, window, shape[2])})

    def add_avg_pool(self) -> None:
        source = self.pick(self.shaped("float"))
        shape = self.values[source].shape
        window = self.window(shape, dilated=False)
        pads = tuple(
            min(p, 1) if k > 1 else 0 for p, k in zip(window.pads, window.kernel * 2, strict=True)
        )
        window = Window(kernel=window.kernel, stride=window.stride, pads=pads)
        count = self.pick(("inside", "padded", 3))
        attributes: dict[str, object] = {"count": count}
        if count == "padded":
            attributes["padding"] = (max(pads[0], pads[2]), max(pads[1], pads[3]))
        more = {"window": window, "out": self.out(shape, window, shape[2])}
        self._conv("avg_pool", source, more | {"attributes": attributes})

    def add_elementwise(self) -> None:
        source = self.pick(self.shaped("float"))
        self._conv("elementwise", source, {"out": self.values[source].shape})

    def move(self, op: str, inputs: tuple[str, ...], shape: Shape, **attributes: object) -> None:
        output = self.value("float", shape)
        name = f"node{len(self.nodes)}"
        self.nodes.append(
            Node(name=name, op=op, inputs=inputs, shape=shape, output=output, attributes=attributes)
        )

    def add_concat(self) -> None:
        first = self.pick(self.shaped("float"))
        height, width, _ = self.values[first].shape
        same = [v for v in self.shaped("float") if self.values[v].shape[:2] == (height, width)]
        inputs = (first, *(self.pick(same) for _ in range(1 + self.below(2))))
        self.move("concat", inputs, (height, width, sum(self.values[v].shape[2] for v in inputs)))

    def add_pad(self) -> None:
        source = self.pick(self.shaped("float"))
        height, width, c = self.values[source].shape
        mode = self.pick(("constant", "constant", "reflect", "replicate", "circular"))
        most = min(height, width) - (mode == "reflect")
        pads = [self.below(min(most, 2) + 1) for _ in range(4)]
        channels = [self.below(3), self.below(3)] if mode == "constant" else [0, 0]
        shape = (height + pads[0] + pads[2], width + pads[1] + pads[3], c + sum(channels))
        self.move("pad", (source,), shape, mode=mode, pads=pads, channels=channels, value=0.5)

    def add_slice(self) -> None:
        source = self.pick(self.shaped("float"))
        parts, sizes = [], []
        for size in self.values[source].shape:
            start, step = self.below(size), 1 + self.below(2)
            stop = start + 1 + self.below(size - start)
            parts.append([start, stop, step])
            sizes.append(len(range(start, stop, step)))
        names = dict(zip(("rows", "columns", "channels"), parts, strict=True))
        self.move("slice", (source,), (sizes[0], sizes[1], sizes[2]), **names)

    def add_resize(self) -> None:
        source = self.pick(self.shaped("float"))
        height, width, c = self.values[source].shape
        shape = (1 + self.below(2 * height), 1 + self.below(2 * width), c)
        mode = self.pick(("nearest", "bilinear"))
        corners = mode == "bilinear" and bool(self.below(2))
        self.move("resize", (source,), shape, mode=mode, align_corners=corners, scale=None)

    def add_flatten(self) -> None:
        source = self.pick(self.shaped("float"))
        height, width, c = self.values[source].shape
        self.move("flatten", (source,), (1, 1, height * width * c))

    def add_unary(self) -> None:
        source = self.pick(self.shaped("float"))
        function = self.pick(("sigmoid", "tanh", "silu", "gelu", "hardswish", "elu", "abs"))
        self.move("unary", (source,), self.values[source].shape, function=function)

    def grow(self, count: int) -> Graph:
        """`count` nodes and a last one that stores the answer."""
        kind = self.pick(("u8", "float"))
        shape = (2 + self.below(self.size), 2 + self.below(self.size), self.pick((1, 3, 16, 33)))
        source = self.value(kind, shape)
        needs = {"binary_conv": "codes", "int8_conv": "u8"}
        ops = ["binary_conv"] * 4 + ["int8_conv"] * 2 + ["elementwise"] * 4 + ["max_pool"] * 2
        ops += ["avg_pool", "float_conv", "sign_conv", "concat", "pad", "slice", "resize"]
        ops += ["flatten", "unary"]
        while len(self.nodes) < count or not self.shaped("float"):
            op = self.pick(ops)
            if self.shaped(needs.get(op, "float")) and self._small():
                self.add(op)
            elif not self.shaped("float"):
                self.add("int8_conv")
            else:
                self.add("slice")
        last = self.values[self.pick(self.shaped("float"))]
        answer = self.value("float", last.shape)
        steps = (Step(op="add", a=self.numbers(last.shape[2])), Step(op="store", value=answer))
        self.nodes.append(
            Node(name="last", op="elementwise", inputs=(last.name,), shape=last.shape, steps=steps)
        )
        return Graph(
            nodes=tuple(self.nodes),
            values=self.values,
            tensors=self.tensors,
            input=source,
            output=answer,
            output_rank=4,
            mean=tuple(self.random.uniform(0.3, 0.6, shape[2])),
            std=tuple(self.random.uniform(0.2, 0.3, shape[2])),
        )

    def _small(self) -> bool:
        return max(np.prod(v.shape) for v in self.values.values()) < 20_000


@pytest.fixture
def random_net() -> Callable[..., Graph]:
    """A function (seed, nodes, size) -> random graph."""

    def make(seed: int, nodes: int = 6, size: int = 9) -> Graph:
        return Maker(seed, size).grow(nodes)

    return make
