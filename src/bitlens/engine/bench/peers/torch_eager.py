"""torch in eager mode on the float twin, channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlens.engine.bench.peers import Peer
from bitlens.engine.bench.peers.images import random_images
from bitlens.engine.bench.twin import float_twin
from bitlens.engine.bench.twin_writer import INPUT, OUTPUT, Operation
from bitlens.engine.graph import Graph

Call = Callable[..., Tensor]


def prepare(graph: Graph, threads: int) -> Peer:
    """The float twin as a list of torch calls; sets the threads of torch in this process."""
    torch.set_num_threads(threads)
    net = TorchTwin(graph)
    image = torch.from_numpy(random_images(graph)).to(memory_format=torch.channels_last)
    return Peer(
        run=lambda: net(image),
        description="torch, eager, float32, channels last",
        version=torch.__version__,
    )


class TorchTwin:
    """The operations of the twin, each one torch call on tensors held by name."""

    def __init__(self, graph: Graph) -> None:
        twin = float_twin(graph)
        self._held: dict[str, Any] = {
            name: _constant(torch.from_numpy(array)) for name, array in twin.constants.items()
        }
        self._calls = [
            (_call(made, self._held), tuple(filter(None, made.inputs)), made.output)
            for made in twin.operations
        ]

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """Answers (n, classes) or (n, c, h, w) of a normalised image (n, c, h, w)."""
        held = self._held | {INPUT: image}
        for call, names, made in self._calls:
            held[made] = call(*[held[name] for name in names])
        return held[OUTPUT]


def _constant(tensor: Tensor) -> Tensor:
    """Filters in the layout of channels last, the rest as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _call(made: Operation, held: dict[str, Tensor]) -> Call:
    """The torch call for one operation, its settings read now."""
    operation, given = made.op, dict[str, Any](made.attributes)
    if operation in _SIMPLE:
        return _SIMPLE[operation]
    if operation in ("Conv", "MaxPool", "AveragePool"):
        return _windowed(operation, given)
    if operation == "Reshape":
        shape = held[made.inputs[1]].tolist()
        return lambda x, _: x.reshape(shape)
    if operation == "Concat":
        return lambda *parts: torch.cat(parts, given["axis"])
    if operation == "PRelu":
        return lambda x, slope: F.prelu(x, slope.flatten())
    if operation == "Pad":
        return _pad(given["mode"], held[made.inputs[1]].tolist())
    if operation == "Slice":
        cuts = [slice(None)] * 4
        starts, stops, axes, steps = (held[name].tolist() for name in made.inputs[1:])
        for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
            cuts[axis] = slice(start, stop, step)
        return lambda x, *_: x[tuple(cuts)]
    if operation == "Resize":
        return _resize(made, given, held)
    if operation == "Gelu":
        how = given.get("approximate", "none")
        return lambda x: F.gelu(x, approximate=how)
    if operation == "Elu":
        return lambda x: F.elu(x, given.get("alpha", 1.0))
    raise ValueError(f"the twin has an operation {operation} without a torch call")


def _windowed(operation: str, given: dict[str, Any]) -> Call:
    top, left, bottom, right = given["pads"]
    stride, dilation = given["strides"], given.get("dilations", (1, 1))
    even = (top, left) == (bottom, right)
    padding = (top, left) if even else (0, 0)
    fill = -torch.inf if operation == "MaxPool" else 0.0

    def padded(x: Tensor) -> Tensor:
        return x if even else F.pad(x, (left, right, top, bottom), value=fill)

    if operation == "Conv":
        groups = given["group"]
        return lambda x, w, b: F.conv2d(padded(x), w, b, stride, padding, dilation, groups)
    kernel = given["kernel_shape"]
    if operation == "MaxPool":
        return lambda x: F.max_pool2d(padded(x), kernel, stride, padding, dilation)
    counted = bool(given.get("count_include_pad", 0))
    if not even and not counted:
        return _average_inside(kernel, stride, (top, left, bottom, right))
    return lambda x: F.avg_pool2d(padded(x), kernel, stride, padding, False, counted)


def _average_inside(
    kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, int, int, int]
) -> Call:
    """Mean over the positions inside the image where the padding is uneven."""
    top, left, bottom, right = pads
    sides = (left, right, top, bottom)

    def average(x: Tensor) -> Tensor:
        shares = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), sides), kernel, stride)
        return F.avg_pool2d(F.pad(x, sides), kernel, stride) / shares

    return average


def _pad(mode: str, pads: list[int]) -> Call:
    _, before, top, left, _, after, bottom, right = pads
    sides = (left, right, top, bottom)
    if mode == "constant":
        return lambda x, _, value: F.pad(x, (*sides, before, after), value=float(value))
    torch_mode = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    return lambda x, _: F.pad(x, sides, mode=torch_mode)


def _resize(made: Operation, given: dict[str, Any], held: dict[str, Tensor]) -> Call:
    last = held[made.inputs[-1]].tolist()[2:]
    size: dict[str, Any] = {"scale_factor" if len(made.inputs) == 3 else "size": last}
    if given["mode"] == "nearest":
        return lambda x, _: F.interpolate(x, **size, mode="nearest")
    corners = given["coordinate_transformation_mode"] == "align_corners"
    return lambda x, _: F.interpolate(x, **size, mode="bilinear", align_corners=corners)


_SIMPLE: dict[str, Call] = {
    "Add": torch.add,
    "Mul": torch.mul,
    "Relu": F.relu,
    "Clip": torch.clamp,
    "Gemm": F.linear,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "Flatten": lambda x: x.flatten(1),
    "Identity": lambda x: x,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "HardSwish": F.hardswish,
    "HardSigmoid": F.hardsigmoid,
    "Exp": torch.exp,
    "Abs": torch.abs,
    "Sqrt": torch.sqrt,
}
