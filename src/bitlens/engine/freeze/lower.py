"""From a captured net to the packed graph: translate, quantize, fold signs, gather nodes, emit."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from bitlens.engine.freeze.arithmetic import ARITHMETIC
from bitlens.engine.freeze.capture import Captured
from bitlens.engine.freeze.chains import gather
from bitlens.engine.freeze.emit import emit
from bitlens.engine.freeze.flow import Flow, Op, View, ancestors_first, image_view
from bitlens.engine.freeze.movement import MOVEMENT, ON_SIGNS
from bitlens.engine.freeze.observe import Progress
from bitlens.engine.freeze.poolings import POOLINGS
from bitlens.engine.freeze.quantize import quantize
from bitlens.engine.freeze.refusals import way_out
from bitlens.engine.freeze.thresholds import fold_thresholds
from bitlens.engine.freeze.translation import Translation
from bitlens.engine.freeze.windows import WINDOWS
from bitlens.engine.graph import Graph

RULES: dict[Any, Any] = {**ARITHMETIC, **WINDOWS, **POOLINGS, **MOVEMENT}
"""Torch operator -> rule, for every operator that can be packed."""


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """A packed graph and how it belongs to the captured one.

    Attributes:
        graph: what is shipped.
        probed: the same with the value of every captured node stored as well.
        flow: what every captured node has become.
        names: names of the values of `probed`, by operation.
        used: operations that the answer needs.
        folded: for every sign, the steps that its threshold stands for.
    """

    graph: Graph
    probed: Graph
    flow: Flow
    names: dict[Op, str]
    used: frozenset[Op]
    folded: dict[Op, tuple[Op, ...]]


def lower(
    captured: Captured,
    calibration: Iterable[Tensor],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: Sequence[str] = (),
    float32: bool = False,
    progress: Progress | None = None,
) -> Lowered:
    """Lower a captured net.

    Args:
        captured: the net.
        calibration: float images as the net takes them, for the ranges of int8 inputs.
        mean, std: normalisation of the images, per channel; None where the net's input is no image of
            bytes.
        labels: class names.
        float32: keep real convolutions in float32.
        progress: called with the calibration images done and their number.

    Raises:
        BitlensError: an operator that cannot be packed, by its place and with a way out.
    """
    flow = translate(captured)
    if not float32:
        quantize(flow, captured, calibration, mean, std, progress)
    folded = fold_thresholds([flow.answer.op])
    chains = gather(flow.answer.op)
    described: dict[str, Any] = {
        "mean": None if mean is None else tuple(float(m) for m in mean),
        "std": None if std is None else tuple(float(s) for s in std),
        "labels": tuple(labels),
    }
    graph, _ = emit(flow, chains, probe=frozenset(), **described)
    used = frozenset(ancestors_first([flow.answer.op]))
    shown = (*flow.views.values(), *(s.view for s in flow.substitutes.values()))
    probe = frozenset(view.op for view in shown)
    probed, names = emit(flow, chains, probe=probe, **described)
    return Lowered(graph=graph, probed=probed, flow=flow, names=names, used=used, folded=folded)


def translate(captured: Captured) -> Flow:
    """Every captured operator as operations on (h, w, c)."""
    t = Translation(captured)
    _, c, h, w = (int(n) for n in captured.image.meta["val"].shape)
    image = Op(kind="input", shape=(h, w, c), name="image")
    for node in captured.module.graph.nodes:
        t.node = node
        if node.op == "placeholder":
            t.values[node] = image_view(image)
        elif node.op == "call_function" and node not in captured.constants:
            t.values[node] = _apply(t, node)
    if captured.answer in captured.constants:
        t.refuse("does not depend on the image", "there is nothing to pack")
    views = {node: view for node, view in t.values.items() if isinstance(view, View)}
    answer = t.answer(t.values[captured.answer])
    return Flow(input=image, answer=answer, views=views, substitutes=t.substitutes)


def _apply(t: Translation, node: fx.Node) -> Any:
    rule = RULES.get(node.target)
    if rule is None:
        t.refuse("cannot be packed", way_out(str(node.target)))

    def value(argument: Any) -> Any:
        if not isinstance(argument, fx.Node):
            return argument
        found = t.captured.constants.get(argument)
        found = t.values[argument] if found is None else found
        if isinstance(found, View) and node.target not in ON_SIGNS:
            return t.floats(found)
        return found

    arguments = fx.node.map_aggregate(node.args, value)
    named = fx.node.map_aggregate(node.kwargs, value)
    try:
        inspect.signature(rule).bind(t, *arguments, **named)
    except TypeError as error:
        t.refuse(f"is called in a form that cannot be packed ({error})", "use its plain form")
    return rule(t, *arguments, **named)
