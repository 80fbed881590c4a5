"""`summary`: which layer is 1-bit, which is float and why, what it costs and what it weighs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.models.convert import float_reason
from bitlens.models.layers import BinaryLayer, BinaryLinear

WORD_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One weighted layer.

    `macs` counts multiply-accumulates for one image (None without an example). `bytes_latent` is the
    float tensor in training; `bytes_packed` is what ships: one bit a weight in rows of 32-bit words,
    plus a float32 scale per output channel, or float32 for a layer left float.
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
    """Parameters outside the listed layers: norms, thresholds, slopes."""

    @property
    def bytes_latent(self) -> int:
        """Size in training, in bytes, everything included (float32)."""
        return sum(row.bytes_latent for row in self.rows) + 4 * self.other_parameters

    @property
    def bytes_packed(self) -> int:
        """Size when packed, in bytes, everything included."""
        return sum(row.bytes_packed for row in self.rows) + 4 * self.other_parameters

    @property
    def parameters(self) -> int:
        """Number of trained parameters, latent weights included."""
        return sum(row.bytes_latent for row in self.rows) // 4 + self.other_parameters

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
        lines.append(("(everything else)", "", "float", "norms, thresholds, slopes, ...", "", other, other))
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
        example: one batch of inputs; with it the MACs of one image are counted by a forward pass in
            evaluation mode, without it they are left out.

    Raises:
        Whatever the net raises when `example` does not fit it.
    """
    macs = {} if example is None else _count_macs(net, example)
    listed: set[int] = set()
    rows = []
    for name, layer in net.named_modules():
        row = _row(net, name, layer, macs.get(name))
        if row is not None:
            rows.append(row)
            listed.update(id(p) for p in (layer.weight, layer.bias) if p is not None)
    other = sum(p.numel() for p in net.parameters() if id(p) not in listed)
    return Summary(rows=tuple(rows), other_parameters=other)


def _row(net: nn.Module, name: str, layer: nn.Module, macs: int | None) -> LayerRow | None:
    weight = getattr(layer, "weight", None)
    reason = None if isinstance(layer, BinaryLayer) else float_reason(net, name, layer)
    listed = reason or isinstance(layer, BinaryLayer | nn.Conv2d | nn.Linear)
    if not listed or not isinstance(weight, Tensor):
        return None
    bias = getattr(layer, "bias", None)
    bias_bytes = 4 * bias.numel() if isinstance(bias, Tensor) else 0
    latent = 4 * weight.numel() + bias_bytes
    binary = isinstance(layer, BinaryLayer)
    return LayerRow(
        name=name or "(net)",
        kind=_kind(layer),
        shape=tuple(weight.shape),
        bits=1 if binary else 32,
        why=f"binary ({layer.method_name})" if binary else reason or "kept float",
        macs=macs,
        bytes_latent=latent,
        bytes_packed=_packed_bytes(weight) + bias_bytes if binary else latent,
    )


def _kind(layer: nn.Module) -> str:
    kernel = getattr(layer, "kernel_size", None)
    if isinstance(kernel, tuple):
        grouped = getattr(layer, "groups", 1) > 1
        return f"conv {'x'.join(map(str, kernel))}" + (" grouped" if grouped else "")
    return "linear" if isinstance(layer, nn.Linear | BinaryLinear) else type(layer).__name__.lower()


def _packed_bytes(weight: Tensor) -> int:
    filters, per_filter = weight.shape[0], weight[0].numel()
    return filters * (-(-per_filter // 32) * WORD_BYTES) + 4 * filters


def _count_macs(net: nn.Module, example: Tensor) -> dict[str, int]:
    counts: dict[str, int] = {}
    handles = []

    def watch(name: str, layer: nn.Module, weight: Tensor) -> None:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            positions = output[0].numel() // weight.shape[0]
            counts[name] = counts.get(name, 0) + positions * weight.numel()

        handles.append(layer.register_forward_hook(count))

    for name, layer in net.named_modules():
        if isinstance(layer, BinaryLayer | nn.Conv2d | nn.Linear):
            watch(name, layer, layer.weight)
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            net(example)
    finally:
        net.train(was_training)
        for handle in handles:
            handle.remove()
    return counts
