"""A packed net held against the torch net it came from, sign by sign, before anything is written.

The captured net runs in torch, operator by operator, with two liberties. An int8 convolution computes
what it is defined to compute, in float64 where all its integers are exact. And where the order of a sum or
the last bit is open (real convolutions, means, smooth functions), the engine's number takes the place of
torch's once both are close. Everything else is torch's own arithmetic, and every sign and every number that
the engine wrote must be the one that torch computes, to the last bit. Thresholds are checked where they turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bitlens.engine.freeze.capture import BATCH, Captured
from bitlens.engine.freeze.flow import Array, to_rows
from bitlens.engine.freeze.interpret import CLOSE, SideBySide, distance
from bitlens.engine.freeze.lower import Lowered
from bitlens.engine.freeze.observe import pairs_of, run_nodes
from bitlens.engine.freeze.pixels import image_bytes, normalised
from bitlens.engine.freeze.turns import check_turns
from bitlens.engine.heads import Heads
from bitlens.errors import BitlensError

Trace = Callable[[Array], Mapping[str, Array]]
"""Images (n, h, w, c) as the graph takes them -> every value of the probed graph."""

Answer = Callable[[Array], Array]
"""Images (n, h, w, c) as the graph takes them -> (n, h, w, c) of the shipped graph."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was compared.

    Attributes:
        images: number of images.
        codes: signs compared with torch's.
        differing: how many differed; a net is only packed with 0.
        layers: number of tensors of signs.
        answers: images, or pixels where the net answers with images.
        identical: how many have the first class that torch computes with the same int8 layers, and, where
            the net tells depths, the very number of its depth.
        largest: largest difference of an answer to that of the untouched net, in float32.
        top1_changes: answers whose first class is another than the untouched net's; None where the net
            tells no classes.
        heads: names of a map's heads; empty where nobody says what the answer means.
    """

    images: int
    codes: int
    differing: int
    layers: int
    answers: int
    identical: int
    largest: float
    top1_changes: int | None
    heads: tuple[str, ...] = ()

    def __str__(self) -> str:
        signs = (
            f"{self.codes:,} signs of {self.layers} layers on {self.images} images equal torch's bit for bit"
            if self.layers
            else f"no signs to compare, the net has no binary layer; {self.images} images answered"
        )
        names = {"segment": "classes", "depth": "depths"}
        same = " and ".join(names[head] for head in self.heads) or "predictions"
        changed = "answers change by"
        if self.top1_changes is not None:
            subject = "classes" if self.heads else "of them"
            numbers = "answers" if self.heads else "logits"
            changed = f"{self.top1_changes:,} {subject} change, {numbers} by"
        return (
            f"{signs}; {same} identical: {self.identical:,} of {self.answers:,}; against the net "
            f"with float32 in place of int8, {changed} at most {self.largest:.3g}"
        )


def verify(
    net: nn.Module,
    captured: Captured,
    lowered: Lowered,
    images: Tensor,
    trace: Trace,
    answer: Answer,
    heads: Heads | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Compare the packed net with the torch net.

    Args:
        net: the user's net; its mode stays as it is.
        captured: the net as it was captured.
        lowered: what was made of it.
        images: float images (n, c, h, w) as the net takes them.
        trace: runs `lowered.probed`.
        answer: runs `lowered.graph`.
        heads: what the channels of the answer are; None where all are logits of classes.
        progress: called with the images done and their number.

    Raises:
        BitlensError: a sign differs, an open sum is not close, or the captured net is not the net.
    """
    check_turns(lowered)
    check = SideBySide(captured, lowered)
    own, packed, simulated = [], [], []
    for pair in pairs_of([images]):
        rows, pair = _as_taken(lowered, pair)
        expected = _evaluate(net, pair)
        if not own:
            _check_capture(captured, pair, expected)
        values = trace(rows)
        simulated.append(check.pair(pair, rows, values))
        traced, shipped = values[lowered.probed.output], answer(rows)
        if not np.array_equal(traced, shipped, equal_nan=True):
            raise BitlensError(
                "pack: the shipped net answers differently from the traced one; this is a bug of the "
                "engine, please report it"
            )
        own.append(to_rows(expected, lowered.flow.answer))
        packed.append(shipped)
        if progress is not None:
            progress(min(len(packed) * BATCH, len(images)), len(images))
    ours, theirs, same = (np.concatenate(x)[: len(images)] for x in (packed, own, simulated))
    equal, changes = _compare(ours, theirs, same, heads)
    return Verification(
        images=len(images),
        codes=check.codes,
        differing=0,
        layers=len(check.seen),
        answers=equal.size,
        identical=int(equal.sum()),
        largest=float(np.abs(ours - theirs).max()),
        top1_changes=changes,
        heads=() if heads is None else tuple(heads.channels),
    )


def _compare(
    ours: Array, theirs: Array, same: Array, heads: Heads | None
) -> tuple[npt.NDArray[np.bool_], int | None]:
    """Which answers are those of `same`, and how many first classes are not those of `theirs`.

    A class is the same where its logit is the largest, a depth where its number is.
    """
    if heads is not None and not heads.classes:
        return (ours == same).all(axis=-1), None
    classes = slice(None) if heads is None else heads.part("segment")
    first, own, again = (x[..., classes].argmax(axis=-1) for x in (ours, theirs, same))
    equal = first == again
    if heads is not None and "depth" in heads.channels:
        depth = heads.part("depth")
        equal &= (ours[..., depth] == same[..., depth]).all(axis=-1)
    return equal, int((first != own).sum())


def _as_taken(lowered: Lowered, pair: Tensor) -> tuple[Array, Tensor]:
    graph = lowered.graph
    if graph.values[graph.input].kind == "float":
        return pair.permute(0, 2, 3, 1).contiguous().numpy(), pair
    assert graph.mean is not None and graph.std is not None
    rows = image_bytes(pair, graph.mean, graph.std)
    return rows, normalised(rows, graph.mean, graph.std)


@torch.no_grad()
def _evaluate(net: nn.Module, pair: Tensor) -> Tensor:
    training = [module for module in net.modules() if module.training]
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    net.eval()
    try:
        return net(pair.to(device)).cpu()
    finally:
        for module in training:
            module.training = True


def _check_capture(captured: Captured, pair: Tensor, expected: Tensor) -> None:
    order = list(captured.module.graph.nodes)
    found = run_nodes(captured, order, pair)[captured.answer]
    if distance(found, expected) > CLOSE:
        raise BitlensError(
            "pack: the captured net answers differently from the net itself; its forward must do the "
            "same for every call in evaluation mode (no random numbers, no state that "
            "changes, no forward hook that changes values)"
        )
