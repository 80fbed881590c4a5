"""`summary`: which layer is 1-bit, which is float and why, what it costs and what it weighs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from bitlens.errors import BitlensError
from bitlens.methods.contract import TrainingOnly
from bitlens.models.convert import float_reason
from bitlens.models.layers import BinaryLayer, BinaryLinear

WORD_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One weighted layer.

    `shape` is that of its largest weight. `macs` counts multiply-accumulates for one image, over every
    call of the layer (None without an example, or where nothing calls the layer's own forward).
    `bytes_latent` is what the layer is worth in float32: its weights, latent ones included, and its
    bias, not what a method learns beside them. `bytes_packed` is what ships: one bit a weight in rows
    of 32-bit words, plus a float32 scale per output channel (and an offset, where the method has one),
    or float32 for a layer left float. A tensor tied to several layers counts in the first.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bits: int
    why: str
    macs: int | None
    bytes_latent: int
    bytes_packed: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layer table of a net; `print` it, or read `rows`."""

    rows: tuple[LayerRow, ...]
    other_parameters: int
    """Parameters outside the listed layers: norms, thresholds, slopes, a net's own tensors."""
    training_parameters: int
    """What methods learn besides to find weights and activations, and do not ship as such: scales that
    replace computed ones, angles, a codebook, the factor of a covariance, a gradient's own network; and
    any other `TrainingOnly` module."""

    @property
    def bytes_latent(self) -> int:
        """Float32 size, in bytes, of the net that ships: without `training_parameters`."""
        return sum(row.bytes_latent for row in self.rows) + 4 * self.other_parameters

    @property
    def bytes_packed(self) -> int:
        """Size when packed, in bytes, everything included."""
        return sum(row.bytes_packed for row in self.rows) + 4 * self.other_parameters

    @property
    def parameters(self) -> int:
        """Number of trained parameters, latent weights and `training_parameters` included."""
        return self.shipped_parameters + self.training_parameters

    @property
    def shipped_parameters(self) -> int:
        """Number of trained parameters that a packed net stands for: without `training_parameters`."""
        return self.bytes_latent // 4

    @property
    def binary(self) -> tuple[LayerRow, ...]:
        """The 1-bit rows."""
        return tuple(row for row in self.rows if row.bits == 1)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Rows as plain JSON-ready dictionaries."""
        return [asdict(row) | {"shape": list(row.shape)} for row in self.rows]

    def __str__(self) -> str:
        head = ("layer", "kind", "bits", "why", "MACs", "latent B", "packed B")
        lines = [head]
        for row in self.rows:
            macs = "-" if row.macs is None else f"{row.macs:,}"
            bits = "1" if row.bits == 1 else "float"
            lines.append(
                (
                    row.name,
                    row.kind,
                    bits,
                    row.why,
                    macs,
                    f"{row.bytes_latent:,}",
                    f"{row.bytes_packed:,}",
                )
            )
        other = f"{4 * self.other_parameters:,}"
        lines.append(
            ("(everything else)", "", "float", "norms, thresholds, slopes, ...", "", other, other)
        )
        if self.training_parameters:
            trained = f"{4 * self.training_parameters:,} B that methods learn with"
            lines.append(("(trained, never shipped)", "", "float", trained, "", "-", "-"))
        ratio = self.bytes_latent / self.bytes_packed
        lines.append(
            (
                "total",
                "",
                "",
                f"{ratio:.1f}x smaller",
                "",
                f"{self.bytes_latent:,}",
                f"{self.bytes_packed:,}",
            )
        )
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        left = 4
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def summary(net: nn.Module, example: Tensor | None = None) -> Summary:
    """List every weighted layer of `net`.

    Args:
        net: any torch net, binarized or not.
        example: one batch of inputs, the batch first; with it the MACs of one image are counted by a
            forward pass in evaluation mode, without it they are left out.

    Raises:
        BitlensError: a lazy layer that has seen no input yet.
        Exception: whatever the net raises when `example` does not fit it.
    """
    macs = {} if example is None else _count_macs(net, example)
    _check_initialised(net)
    unlisted = {id(p): p for p in net.parameters()}
    parts = {id(part) for layer in net.modules() for part in _parts(layer)}
    learned = {id(p): p for layer in net.modules() for p in _training_only(layer)}
    training = sum(p.numel() for key, p in learned.items() if unlisted.pop(key, None) is not None)
    rows = []
    for name, layer in net.named_modules():
        if id(layer) in parts:
            continue
        reason = None if isinstance(layer, BinaryLayer) else float_reason(net, name, layer)
        held = _parameters(layer)
        if held and (reason or isinstance(layer, BinaryLayer | nn.Conv2d | nn.Linear)):
            new = [unlisted.pop(id(p)) for p in held if id(p) in unlisted]
            rows.append(_row(name, layer, reason, held, new, macs.get(name)))
    other = sum(p.numel() for p in unlisted.values())
    return Summary(rows=tuple(rows), other_parameters=other, training_parameters=training)


def _check_initialised(net: nn.Module) -> None:
    for name, layer in net.named_modules():
        if any(isinstance(p, nn.UninitializedParameter) for p in layer.parameters(recurse=False)):
            raise BitlensError(
                f"summary: layer {name!r} is lazy and has no weight yet; run one forward pass first"
            )


def _parts(layer: nn.Module) -> Iterator[nn.Module]:
    """The modules inside a binary layer, or for training only, which are no layers of their own."""
    if isinstance(layer, BinaryLayer):
        for part in (layer.weight_binarizer, layer.activation, layer.output):
            yield from () if part is None else part.modules()
    elif isinstance(layer, TrainingOnly):
        yield from layer.modules()


def _training_only(layer: nn.Module) -> Iterator[nn.Parameter]:
    """What is learned and does not ship as it is."""
    if isinstance(layer, BinaryLayer):
        yield from layer.weight_binarizer.parameters()
    elif isinstance(layer, TrainingOnly):
        yield from layer.parameters()


def _parameters(layer: nn.Module) -> list[nn.Parameter]:
    """A layer's own parameters, those behind its parametrizations included."""
    found = list(layer.parameters(recurse=False))
    if is_parametrized(layer):
        found += layer.get_submodule("parametrizations").parameters()
    return found


def _row(
    name: str,
    layer: nn.Module,
    reason: str | None,
    held: list[nn.Parameter],
    new: list[nn.Parameter],
    macs: int | None,
) -> LayerRow:
    latent = packed = 4 * sum(p.numel() for p in new)
    binary = isinstance(layer, BinaryLayer)
    if binary:
        per_channel = (
            1 + (layer.bias is not None) + (layer.weight_binarizer.offset(layer.weight) is not None)
        )
        packed = _packed_bytes(layer.weight, per_channel)
    return LayerRow(
        name=name or "(net)",
        kind=_kind(layer),
        shape=tuple((layer.weight if binary else max(held, key=torch.numel)).shape),
        bits=1 if binary else 32,
        why=f"binary ({layer.method_name})" if binary else reason or "kept float",
        macs=macs,
        bytes_latent=latent,
        bytes_packed=packed,
    )


def _kind(layer: nn.Module) -> str:
    kernel = getattr(layer, "kernel_size", None)
    if isinstance(kernel, tuple):
        grouped = getattr(layer, "groups", 1) > 1
        return f"conv {'x'.join(map(str, kernel))}" + (" grouped" if grouped else "")
    return "linear" if isinstance(layer, nn.Linear | BinaryLinear) else type(layer).__name__.lower()


def _packed_bytes(weight: Tensor, per_channel: int) -> int:
    filters, per_filter = weight.shape[0], weight[0].numel()
    return filters * (-(-per_filter // 32) * WORD_BYTES) + 4 * per_channel * filters


def _count_macs(net: nn.Module, example: Tensor) -> dict[str, int]:
    counts: dict[str, int] = {}

    def counter(name: str) -> Any:
        def count(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # Every weight meets every position of the output, or of the input when transposed.
            transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
            positions = (inputs[0] if transposed else output).numel() // layer.weight.shape[0]
            counts[name] = counts.get(name, 0) + positions * layer.weight.numel()

        return count

    handles = [
        layer.register_forward_hook(counter(name))
        for name, layer in net.named_modules()
        if isinstance(layer, BinaryLayer | nn.modules.conv._ConvNd | nn.Linear)
    ]
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        with torch.no_grad():
            net(example)
    finally:
        for module in training:
            module.training = True
        for handle in handles:
            handle.remove()
    return {name: count // len(example) for name, count in counts.items()}
