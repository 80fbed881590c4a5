"""From a torch net to a flat graph of ATen operators, by torch.export.

The net is captured in evaluation mode for a batch of two images. Its binary layers become opaque: what
an activation binarizer does before its sign stays ordinary arithmetic, the sign and the convolution with
±1 weights are operators of their own (`opaque.py`), and scale and bias follow as ordinary arithmetic.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitlens.engine.freeze import opaque
from bitlens.engine.freeze.arguments import check_example, check_model
from bitlens.engine.freeze.export import export, first_line, run_once
from bitlens.errors import BitlensError
from bitlens.methods.contract import Sign
from bitlens.models.layers import BinaryConv2d, BinaryLayer, BinaryLinear

BATCH = 2
"""Images the captured graph takes at a time; two, so that a size of one is never the batch."""


@dataclass(frozen=True, kw_only=True)
class Captured:
    """A net as a flat graph.

    Attributes:
        module: computes the net for `BATCH` images; nodes are functional ATen operators.
        constants: value of every node that does not depend on the images.
        layers: module path -> binary layer of the user's net.
    """

    module: fx.GraphModule
    constants: dict[fx.Node, Tensor]
    layers: dict[str, BinaryLayer]

    @property
    def image(self) -> fx.Node:
        """The node that holds the images."""
        return next(node for node in self.module.graph.nodes if node.op == "placeholder")

    @property
    def answer(self) -> fx.Node:
        """The node whose value the net returns."""
        output = next(node for node in self.module.graph.nodes if node.op == "output")
        return output.args[0][0] if isinstance(output.args[0], tuple | list) else output.args[0]


def capture(net: nn.Module, example: Tensor) -> Captured:
    """Capture `net` in evaluation mode; the net itself, its mode and its tensors stay as they are.

    Args:
        net: any net that `binarize` accepts, binarized or not, float32.
        example: one or more images (n, c, h, w) as the net takes them.

    Raises:
        BitlensError: a parameter is not float32 or not finite, the example has another rank, or
            torch.export cannot follow the net.
    """
    check_model(net)
    pair = check_example(example)[[0, -1]].contiguous()
    _check_tensors(net)
    twin = _structural_copy(net).eval()
    for name, module in list(twin.named_modules()):
        # Observers would see the tracing. A hook that computes a weight runs before the forward.
        module._forward_hooks.clear()
        if isinstance(module, BinaryLayer):
            _make_opaque(name, module)
    with torch.autocast("cpu", enabled=False):
        run_once(twin, pair)
        module = export(twin, pair)
    constants = _constants(module)
    return Captured(
        module=module,
        constants=constants,
        layers={n: m for n, m in net.named_modules() if isinstance(m, BinaryLayer)},
    )


def _check_tensors(net: nn.Module) -> None:
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name, tensor in tensors.items():
        if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
            raise BitlensError(
                f"pack: {name} is lazy and has no values; run one forward pass first"
            )
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise BitlensError(f"pack: {name} is {tensor.dtype}; call net.float() first")
    for name, tensor in _must_be_finite(net):
        if not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise BitlensError(
                f"pack: {name} has {bad} entries that are not finite; train again or load another "
                "checkpoint"
            )


def _must_be_finite(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and statistics; other buffers may be masks, and are checked where they are read."""
    yield from net.named_parameters()
    for path, module in net.named_modules():
        if isinstance(module, _BatchNorm):
            yield from module.named_buffers(path, recurse=False)


def _structural_copy(net: nn.Module) -> nn.Module:
    """The same modules in the same places around the same tensors (copied where not on the CPU)."""
    tensors = [*net.parameters(), *net.buffers()]
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    shared: dict[int, Any] = {id(tensor): tensor for tensor in tensors} if on_cpu else {}
    try:
        twin = copy.deepcopy(net, shared)
    except (TypeError, RuntimeError, AttributeError) as error:
        raise BitlensError(
            f"pack: the net cannot be copied ({first_line(error)}); remove hooks and attributes "
            "that hold open files, locks or computed tensors"
        ) from error
    return twin if on_cpu else twin.cpu()


def _make_opaque(name: str, layer: BinaryLayer) -> None:
    """Let a copy's layer compute with the two opaque operators."""
    observed: list[nn.Module] = [layer, *layer.activation.modules()]
    for module in observed:
        module._forward_pre_hooks.clear()
        if isinstance(module, Sign):
            module.forward = _opaque_sign  # pyrefly: ignore[bad-assignment]
    if layer.deploy == "runtime":
        raise BitlensError(
            f"pack: {name or '(net)'}: method {layer.method_name!r} does not fold into thresholds: "
            f"{layer.why_runtime}; train with a method that `bitlens list methods` calls static"
        )
    if not layer.binary_weights or not layer.binary_activations:
        return
    with torch.no_grad():
        signs, scale = layer.weight_binarizer.decompose(layer.weight)
        offset = layer.weight_binarizer.offset(layer.weight)
    for key, value in (("signs", signs), ("scale", scale), ("offset", offset)):
        layer.register_buffer(f"bitlens_{key}", value, persistent=False)
    forward = _conv_forward if isinstance(layer, BinaryConv2d) else _linear_forward
    layer.forward = MethodType(_named(forward, name), layer)  # pyrefly: ignore[bad-assignment]


def _opaque_sign(x: Tensor) -> Tensor:
    return opaque.sign(x)


def _named(forward: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    return lambda layer, x: forward(layer, x, name)


def _codes(layer: BinaryLayer, x: Tensor) -> tuple[Tensor, bool]:
    """The input of the arithmetic, and whether its levels are still to be made 0 and 1."""
    if layer.activation.levels == (0.0, 1.0):
        return layer.activation(x), True
    return layer._codes(x), False


def _conv_forward(layer: BinaryConv2d, x: Tensor, name: str) -> Tensor:
    if x.dim() == 3:
        return _conv_forward(layer, x.unsqueeze(0), name).squeeze(0)
    codes, unit = _codes(layer, x)
    edges, padded = list(layer._edges), 0.0
    if any(edges) and not layer._pads_with_zero:
        if layer.padding_mode != "zeros":
            codes = F.pad(codes, edges, mode=layer.padding_mode)
            edges = [0, 0, 0, 0]
        else:
            low, high = layer.activation.levels
            padded = {-1: low, 0: (low + high) / 2, 1: high}[layer.pad]
    elif any(edges) and not isinstance(layer.padding, str):
        rows, columns = layer.padding
        edges = [columns, columns, rows, rows]
    stride, dilation = list(layer.stride), list(layer.dilation)

    def product(codes: Tensor, weight: Tensor) -> Tensor:
        return opaque.binary_conv(
            codes, weight, stride, edges, dilation, layer.groups, padded, unit, name
        )

    return layer._evaluated(codes, product, *_weights(layer))


def _linear_forward(layer: BinaryLinear, x: Tensor, name: str) -> Tensor:
    # Thresholds belong to the last axis; in front of the others it is the channel of a 1x1 convolution.
    image = x.movedim(-1, 1) if x.dim() > 2 else x
    codes, unit = _codes(layer, image)
    pixels = codes.flatten(2).unsqueeze(-1) if x.dim() > 2 else codes[:, :, None, None]

    def product(pixels: Tensor, weight: Tensor) -> Tensor:
        out = opaque.binary_conv(
            pixels, weight[:, :, None, None], [1, 1], [0, 0, 0, 0], [1, 1], 1, 0.0, unit, name
        )
        out = out.reshape(out.shape[0], out.shape[1], *image.shape[2:])
        return out.movedim(1, -1) if x.dim() > 2 else out

    return layer._evaluated(pixels, product, *_weights(layer))


def _weights(layer: BinaryLayer) -> tuple[Tensor, Tensor, Tensor | None]:
    offset: Tensor | None = layer._buffers["bitlens_offset"]
    return layer.get_buffer("bitlens_signs"), layer.get_buffer("bitlens_scale"), offset


def _constants(module: fx.GraphModule) -> dict[fx.Node, Tensor]:
    """Evaluate every node that no image reaches."""
    interpreter = fx.Interpreter(module)
    values: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in module.graph.nodes:
            if node.op == "get_attr" or (
                node.op == "call_function" and all(n in values for n in node.all_input_nodes)
            ):
                interpreter.env = values
                values[node] = interpreter.run_node(node)
    return values
