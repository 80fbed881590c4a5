"""`pack`: a trained net as a packed graph, checked sign by sign against torch before it can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bitlens
from bitlens.engine.file import format as bits_file
from bitlens.engine.freeze.arguments import (
    check_calibration,
    check_example,
    check_labels,
    check_model,
    check_normalisation,
)
from bitlens.engine.freeze.capture import Captured, capture
from bitlens.engine.freeze.emit import NET
from bitlens.engine.freeze.flow import Array
from bitlens.engine.freeze.lower import Lowered, lower
from bitlens.engine.freeze.pixels import image_bytes
from bitlens.engine.freeze.quantize import FINE
from bitlens.engine.freeze.verify import Verification, verify
from bitlens.engine.graph import Graph, Node
from bitlens.engine.heads import Heads, are_known, heads_for
from bitlens.engine.run.session import Session
from bitlens.engine.table import BITS, Table, table
from bitlens.errors import BitlensError
from bitlens.models.dense.net import DenseNet
from bitlens.models.layers import BinaryLayer
from bitlens.models.summary import summary

CHUNK = 16
"""Images whose bytes are checked at once."""


@dataclass(frozen=True)
class Packed:
    """A packed net: its graph and what was compared with torch."""

    graph: Graph
    verification: Verification

    @cached_property
    def table(self) -> Table:
        """Each layer with its bits, its kernel, and why it is not binary where it is not."""
        return table(self.graph)

    def save(self, path: str | Path) -> None:
        """Write the `.bits` file.

        Raises:
            BitlensError: the path does not end in .bits, or the file cannot be written.
        """
        if Path(path).suffix != ".bits":
            raise BitlensError(f"{path} must end in .bits; a file of that name would be replaced")
        bits_file.write(self.graph, path)


def pack(
    model: nn.Module,
    example: Tensor,
    calibration: Iterable[Tensor] | Tensor | None = None,
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    labels: Sequence[str] | None = (),
    heads: Mapping[str, int] | None = None,
    float32: bool = False,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Freeze a net into a packed graph and check it against torch.

    The net is taken in evaluation mode and left as it is. Binary layers compute with xnor and popcount,
    bit for bit as in torch. The other convolutions and linear layers become int8.

    Args:
        model: a net, usually from `binarize`.
        example: images (n, c, h, w) as the net takes them, on which all signs are compared.
        calibration: batches of such images, or one batch, from which int8 layers take the ranges of their
            inputs; None takes `example`.
        mean: of the normalisation that made the images from bytes, per channel in units of [0, 1]; with it
            and `std` the packed net takes bytes. None where the net's input is no normalised image of bytes.
        std: of the same normalisation.
        labels: class names, or None.
        heads: what the channels of a net's map are, for dense prediction: how many of "segment", class
            logits, and of "depth", log of metres, in order; None takes those of a `DenseNet` with
            no others.
        float32: keep real layers in float32 instead of int8.
        strict: refuse a net with a binary layer that does not compute in 1 bit, or with no binary layer.
        progress: called with the images done and their number, while the calibration images run and then
            while signs are compared.

    Raises:
        BitlensError: something that cannot be packed, or a sign that differs from torch's.
    """
    check_model(model)
    # What autocast would make of the net is not what it makes in evaluation.
    with torch.autocast("cpu", enabled=False):
        images = check_example(example)
        batches = check_calibration(calibration, images)
        normalisation = check_normalisation(mean, std, images.shape[1])
        names = check_labels(labels)
        if normalisation is not None:
            for some in images.split(CHUNK):
                image_bytes(some, *normalisation)
        calibrated = 0 if float32 else sum(map(len, batches))
        total = calibrated + len(images)
        captured = capture(model, images)
        lowered = lower(
            captured,
            batches,
            mean=None if normalisation is None else normalisation[0],
            std=None if normalisation is None else normalisation[1],
            labels=names,
            float32=float32,
            progress=None if progress is None else lambda done, _: progress(done, total),
        )
        found = _heads(lowered.graph, model, heads)
        lowered = _described(lowered, captured, model, found)
        _check_classes(lowered.graph, found)
        if strict:
            _check_strict(lowered.graph, captured)
        told = None if progress is None else lambda done, _: progress(calibrated + done, total)
        verification = _verified(model, captured, lowered, images, found, told)
    checked = {name: told for name, told in asdict(verification).items() if name != "heads"}
    meta = {**lowered.graph.meta, "verified": checked}
    return Packed(graph=replace(lowered.graph, meta=meta), verification=verification)


def _verified(
    model: nn.Module,
    captured: Captured,
    lowered: Lowered,
    images: Tensor,
    heads: Heads | None,
    progress: Callable[[int, int], None] | None,
) -> Verification:
    """Hold the graphs, as the engine runs them, against the net."""
    traced, shipped = Session(lowered.probed), Session(lowered.graph)

    def answer(rows: Array) -> Array:
        found = shipped(rows, layout="nhwc")
        return found[:, None, None] if found.ndim == 2 else found.transpose(0, 2, 3, 1)

    return verify(
        model,
        captured,
        lowered,
        images,
        trace=lambda rows: traced.trace(rows, layout="nhwc"),
        answer=answer,
        heads=heads,
        progress=progress,
    )


def _heads(graph: Graph, model: nn.Module, given: Mapping[str, int] | None) -> Heads | None:
    """What the net's map means, where somebody says."""
    if given is None and isinstance(model, DenseNet) and are_known(model.heads):
        given = model.heads
    return None if given is None else heads_for(graph, given)


def _described(
    lowered: Lowered, captured: Captured, model: nn.Module, heads: Heads | None
) -> Lowered:
    """The same with the layer table's facts in the graph's `meta`."""
    known = summary(model)
    rows = {row.name: row for row in known.rows}
    methods = sorted({layer.method_name for layer in captured.layers.values()})
    layers: list[dict[str, Any]] = []
    for node in lowered.graph.nodes:
        if node.op not in BITS:
            continue
        own = rows.get(node.name.partition("#")[0])
        stored = 0 if own is None or "#" in node.name else own.bytes_latent
        layers.append(
            {
                "name": node.name,
                "op": node.op,
                "bits": BITS[node.op],
                "why": _why(node, lowered.graph, captured, own.why if own else ""),
                "float_bytes": stored,
            }
        )
    meta: dict[str, object] = {
        "method": "+".join(methods) or "float",
        "model": type(model).__name__,
        "bitlens": bitlens.__version__,
        "float_bytes": known.bytes_latent,
        "layers": layers,
    }
    if heads is not None:
        meta |= heads.as_meta()
    return replace(lowered, graph=replace(lowered.graph, meta=meta))


def _layers(captured: Captured) -> dict[str, BinaryLayer]:
    """The binary layers by the names of their nodes."""
    return {name or NET: layer for name, layer in captured.layers.items()}


def _why(node: Node, graph: Graph, captured: Captured, known: str) -> str:
    layer = _layers(captured).get(node.name.partition("#")[0])
    if layer is not None and not layer.binary_weights:
        return "real weights: stage one of a two-step plan"
    if node.op == "sign_conv":
        return "1-bit weights, real input: its activation makes no sign"
    if layer is not None:
        return f"binary ({layer.method_name})"
    if node.name.endswith(FINE):
        return f"second term of {node.name.removesuffix(FINE)}"
    if not known:
        return "the image as floats" if graph.input in node.inputs else "signs as numbers"
    if known == "kept float" and graph.input in node.inputs:
        return "kept float (reads the image)"
    if known == "kept float" and graph.output in node.outputs:
        return "kept float (gives the answer)"
    return known


def _check_classes(graph: Graph, heads: Heads | None) -> None:
    outputs = graph.values[graph.output].shape[2]
    if heads is not None:
        outputs = heads.classes
    if graph.labels and len(graph.labels) != outputs:
        raise BitlensError(
            f"pack: {len(graph.labels)} labels for a net with {outputs} "
            f"{'outputs' if heads is None else 'classes'}; give one a class"
        )


def _check_strict(graph: Graph, captured: Captured) -> None:
    if not captured.layers:
        raise BitlensError(
            "pack: strict, and the net has no binary layer; make some with bitlens.binarize, or leave "
            "strict out"
        )
    packed = {node.name.partition("#")[0]: node for node in graph.nodes if node.op in BITS}
    for name, layer in _layers(captured).items():
        node = packed.get(name)
        if node is not None and node.op == "binary_conv":
            continue
        why = (
            "nothing in the net's answer depends on it"
            if node is None
            else _why(node, graph, captured, layer.method_name)
        )
        raise BitlensError(
            f"pack: strict, and layer {name!r} does not compute with 1-bit weights and inputs: "
            f"{why}; finish its training or leave strict out"
        )
