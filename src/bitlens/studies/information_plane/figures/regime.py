"""Where the measured layers lie among sample sizes and widths, over the exact bias of the plug-in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from bitlens.information.layers import PREDICTION, SIGNS
from bitlens.information.regimes import boundary
from bitlens.studies.figures.panel import Panel
from bitlens.studies.figures.svg import (
    COLORS,
    GREY,
    INK,
    QUIET,
    SMALL,
    document,
    dot,
    polygon,
    polyline,
    text,
)
from bitlens.studies.information_plane.figures.evidence import Evidence, Figure
from bitlens.studies.information_plane.figures.keys import key
from bitlens.studies.information_plane.paths import Trajectory

TITLE = "Which layers the number of samples is enough for"
NAME = "regime"
BIASES = (0.01, 0.05, 0.5, 2.0)
SHADES = ("#ffffff", "#fdf3e3", "#fbe3bd", "#f6c98b", "#eda65a")
FLAGS = {
    "reliable": COLORS[2],
    "corrected": COLORS[0],
    "unreliable": COLORS[1],
    "saturated": GREY,
}
ENUMERATED = ("rule",)
"""Tasks whose probe is the whole input space, where the plug-in has no bias at all."""
MOST_UNITS = 22
SAMPLES = (500, 200_000)
WIDE, LEFT, TOP, WIDTH, HIGH, WIDER = 1040, 66, 70, 760, 360, 34


Layers = dict[tuple[str, int, int], Counter[str]]
"""(task, samples, units) -> how often each flag stands at the end."""
CLOSE = 90


def draw(evidence: Evidence) -> Figure:
    """Bands of bias over log N and D; a dot a layer of the study."""
    layers = _layers(evidence.trajectories)
    if not layers:
        needs = "Needs layers that are read by signs."
        return Figure(name=NAME, title=TITLE, svg=None, caption=needs)
    panel = Panel(
        left=LEFT,
        top=TOP + WIDER,
        width=WIDTH,
        height=HIGH,
        x_range=(math.log10(SAMPLES[0]), math.log10(SAMPLES[1])),
        y_range=(0, MOST_UNITS),
    )
    parts = [key(LEFT, 22, FLAGS.items(), hollow=("saturated",)), *_bands(panel), *_axes(panel)]
    parts += [*_names(panel, layers), *_dots(panel, layers)]
    nets = len(
        {(t.path.task, t.path.hidden, t.path.kind, t.path.seed) for t in evidence.trajectories}
    )
    return Figure(
        name=NAME,
        title=TITLE,
        svg=document(WIDE, TOP + WIDER + HIGH + 48, TITLE, parts),
        caption=(
            "Background: error of the plug-in entropy for D fair independent bits and N samples, exact; "
            "peaked codes err less. Dots: layers of the study, colored by the flag that most of their "
            "nets have at the end of training. The strip on top is for layers wider than the scale. "
            "The rule's inputs are enumerated, so its plug-in values are exact whatever D is: the "
            "background does not apply to them, only the ceiling log2 N does."
        ),
        source=f"{nets} nets, those that the claims compare; all hidden layers, read by signs",
    )


def _layers(trajectories: Sequence[Trajectory]) -> Layers:
    found: Layers = {}
    for trajectory in trajectories:
        path = trajectory.path
        if path.readout == SIGNS and path.layer != PREDICTION:
            units = int(path.hidden.split("-")[path.depth - 1])
            place = path.task, round(2**trajectory.log2_samples), units
            found.setdefault(place, Counter())[path.flag_last] += 1
    return found


def _bands(panel: Panel) -> Iterator[str]:
    n = np.unique(np.round(np.logspace(*panel.x_range, 60)))
    x = [panel.x(value) for value in np.log10(n)]
    edges = [[panel.bottom] * len(x)]
    for bias in BIASES:
        edges.append([max(panel.y(d), panel.top) for d in boundary(n, bias)])
    edges.append([panel.top] * len(x))
    for shade, (low, high) in zip(SHADES, pairwise(edges), strict=True):
        outline = [*zip(x, low, strict=True), *reversed(list(zip(x, high, strict=True)))]
        yield polygon(outline, shade)
    for bias, edge in zip(BIASES, edges[1:-1], strict=True):
        yield polyline(zip(x, edge, strict=True), QUIET, 0.8)
        yield text(panel.right + 8, edge[-1] + 4, f"{bias:g} bit too low", size=SMALL, fill=QUIET)


def _axes(panel: Panel) -> Iterator[str]:
    at = (500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000)
    yield panel.x_axis([math.log10(n) for n in at], [f"{n:,}" for n in at])
    yield panel.y_axis(range(0, MOST_UNITS + 1, 2))
    yield panel.frame()
    yield panel.x_title("samples N")
    yield panel.y_title("units D of the layer")
    yield text(panel.right + 8, panel.top - WIDER / 2 + 4, "wider layers", size=SMALL, fill=QUIET)


def _names(panel: Panel, layers: Layers) -> Iterator[str]:
    """Tasks over their samples; of two that are close the left one reads leftwards."""
    samples_of = {task: samples for task, samples, _ in layers}
    for task, samples in samples_of.items():
        x, anchor = panel.x(math.log10(samples)), _side(panel, samples, set(samples_of.values()))
        yield text(x, TOP - 22, task, anchor=anchor, weight="600")
        if task in ENUMERATED:
            yield text(x, TOP - 8, "enumerated", anchor=anchor, size=SMALL, fill=QUIET)


def _side(panel: Panel, samples: int, every: set[int]) -> str:
    """Where the text at a number of samples is anchored, given the other numbers."""
    away = [panel.x(math.log10(n)) - panel.x(math.log10(samples)) for n in every]
    if any(0 < distance < CLOSE for distance in away):
        return "end"
    return "start" if any(-CLOSE < distance < 0 for distance in away) else "middle"


def _dots(panel: Panel, layers: Layers) -> Iterator[str]:
    wider: dict[int, list[int]] = {}
    for (task, samples, units), flags in sorted(layers.items()):
        flag = flags.most_common(1)[0][0]
        x = panel.x(math.log10(samples))
        if units > MOST_UNITS:
            wider.setdefault(samples, []).append(units)
            y = panel.top - WIDER / 2
        else:
            y = panel.y(units)
        tip = f"{task}, {units} units: " + ", ".join(f"{n} {name}" for name, n in flags.items())
        yield dot((x, y), 5, FLAGS[flag], hollow=flag == "saturated", tip=tip)
    every = {samples for _, samples, _ in layers}
    for samples, units in wider.items():
        leftwards = _side(panel, samples, every) == "end"
        x = panel.x(math.log10(samples)) + (-10 if leftwards else 10)
        anchor, names = "end" if leftwards else "start", ", ".join(map(str, units))
        yield text(x, panel.top - WIDER / 2 + 4, names, anchor=anchor, size=SMALL, fill=INK)
