"""Where the layers lie among what N samples can show: the plug-in's exact error over N and D."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape

import numpy
import plotly.graph_objects as go

from bitlens.information.regimes import boundary, plugin_bias
from bitlens.report.plane_series import Track
from bitlens.report.style import COLORS, ZERO, frame

FLAG_COLORS = {
    "reliable": COLORS[2],
    "corrected": COLORS[5],
    "unreliable": COLORS[4],
    "saturated": "#8c8c8c",
}
DECADES = 0.8
"""How far the map reaches on both sides of the probe's N."""
SPREAD = 0.2
"""Decades over which layers measured on the same N are laid side by side."""
LEVELS = (0.01, 0.1, 1.0, 10.0)
HEAT = [[0.0, "rgba(213, 94, 0, 0.02)"], [1.0, "rgba(213, 94, 0, 0.6)"]]
MOST_NAMES = 16
HEIGHT = 2.0
"""How far the map reaches upwards, in multiples of log2 N; wider layers sit at its upper edge."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One layer of one variant at the end of training."""

    variant: str
    layer: str
    samples: int
    bits: float
    """Bits the layer could hold, D log2(levels)."""
    entropy: float
    flag: str


def placed_layers(variants: Mapping[str, Sequence[Track]]) -> list[Placed]:
    """Every layer's last reading, from the first track (the mean, where there is one)."""
    found: dict[tuple[str, str], Placed] = {}
    for name, tracks in variants.items():
        for track in tracks:
            last = track.readings[-1]
            one = Placed(
                variant=name,
                layer=track.layer,
                samples=last["samples"],
                bits=last["units"] * math.log2(last["levels"]),
                entropy=last["entropy"],
                flag=last["flag"],
            )
            found.setdefault((name, track.layer), one)
    return list(found.values())


def regime_figure(placed: Sequence[Placed]) -> go.Figure:
    """The error map with each layer at its D (square) and at its H(T) (dot), colored by flag.

    A layer too wide for the map is a triangle at its upper edge.
    """
    counts = [math.log10(one.samples) for one in placed]
    low, high = min(counts) - DECADES, max(counts) + DECADES
    tall = HEIGHT * math.log2(max(one.samples for one in placed))
    figure = frame("samples N", "bits", height=540)
    _add_map(figure, low, high, tall)
    _add_lines(figure, low, high)
    order = list(dict.fromkeys(one.layer for one in placed))
    for flag, color in FLAG_COLORS.items():
        _add_layers(figure, [one for one in placed if one.flag == flag], order, tall, flag, color)
    _name_layers(figure, placed, order, tall)
    figure.update_layout(margin={"t": 130}, legend={"y": -0.16, "yanchor": "top"})
    figure.update_xaxes(type="log", range=[low, high], showgrid=False, **_ticks(low, high))
    figure.update_yaxes(range=[0, 1.02 * tall], showgrid=False)
    return figure


@cache
def error_map(low: float, high: float, tall: float) -> tuple[list[int], list[float], numpy.ndarray]:
    """N, D and |E[H_plug] - D| in bits on a grid, D by row; the sizes are powers apart."""
    samples = [round(10**power) for power in numpy.linspace(low, high, 41)]
    samples = sorted({max(2, count) for count in samples})
    units = numpy.linspace(0.0, 1.02 * tall, 61).tolist()
    bias = plugin_bias(numpy.array(samples)[None, :], numpy.array(units)[:, None])
    return samples, units, -bias


def _add_map(figure: go.Figure, low: float, high: float, tall: float) -> None:
    samples, units, error = error_map(round(low, 3), round(high, 3), round(tall, 3))
    bottom, top = math.log10(LEVELS[0]), math.log10(LEVELS[-1])
    figure.add_contour(
        x=samples,
        y=units,
        z=numpy.clip(numpy.log10(numpy.maximum(error, 1e-12)), bottom, top + 0.5).round(3),
        customdata=error.round(4),
        colorscale=HEAT,
        zmin=bottom,
        zmax=top,
        contours={"start": bottom, "end": top, "coloring": "heatmap"},
        line={"width": 0},
        colorbar={
            "thickness": 10,
            "outlinewidth": 0,
            "title": {"text": "error of<br>H(T), bits", "font": {"size": 12}},
            "tickvals": [math.log10(level) for level in LEVELS],
            "ticktext": [f"{level:g}" for level in LEVELS],
        },
        hovertemplate="N = %{x}, D = %{y:.3g} fair bits<br>the plug-in is %{customdata} bits too low"
        "<extra></extra>",
        name="error of the plug-in",
    )


def _add_lines(figure: go.Figure, low: float, high: float) -> None:
    samples = [max(2, round(10**power)) for power in numpy.linspace(low, high, 25)]
    ceiling = [math.log2(count) for count in samples]
    lines = [("log<sub>2</sub> N: no value can lie above", ceiling, "dash")]
    for bias, dash in ((0.05, "solid"), (0.5, "dot")):
        lines.append((f"error {bias:g} bit", boundary(samples, bias).tolist(), dash))
    for name, height, dash in lines:
        figure.add_scatter(
            x=samples,
            y=height,
            mode="lines",
            name=name,
            line={"color": ZERO, "width": 2, "dash": dash},
            hoverinfo="skip",
        )


def _add_layers(
    figure: go.Figure,
    placed: Sequence[Placed],
    order: Sequence[str],
    tall: float,
    flag: str,
    color: str,
) -> None:
    if not placed:
        return
    x, y, symbols, told = [], [], [], []
    for one in placed:
        where = _sideways(one, order)
        heights = (min(one.bits, tall), one.entropy)
        x += [where, where, None]
        y += [*heights, None]
        symbols += ["square-open" if one.bits <= tall else "triangle-up-open", "circle", "circle"]
        text = f"<b>{escape(one.layer)}</b> of {escape(one.variant)}, {flag}<br>"
        text += f"D = {one.bits:.4g} bits, H(T) = {one.entropy:.3f} bits, N = {one.samples:,}"
        told += [text, text, ""]
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        name=flag,
        line={"color": color, "width": 1.5},
        marker={
            "color": color,
            "size": 10,
            "symbol": symbols,
            "line": {"width": 1.5, "color": color},
        },
        hovertext=told,
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _sideways(one: Placed, order: Sequence[str]) -> float:
    place = order.index(one.layer) / max(1, len(order) - 1) - 0.5 if len(order) > 1 else 0.0
    return 10 ** (math.log10(one.samples) + SPREAD * place)


def _ticks(low: float, high: float) -> dict[str, list]:
    powers = range(math.floor(low), math.ceil(high))
    values = [digit * 10**power for power in powers for digit in (1, 2, 5)]
    return {"tickvals": values, "ticktext": [f"{value:,}" for value in values]}


def _name_layers(
    figure: go.Figure, placed: Sequence[Placed], order: Sequence[str], tall: float
) -> None:
    # Names of more layers would run into one another; the hover text has them.
    for layer in order if len(order) <= MOST_NAMES else ():
        widest = max((one for one in placed if one.layer == layer), key=lambda one: one.bits)
        outside = f" ({widest.bits:,.0f} bits)" if widest.bits > tall else ""
        figure.add_annotation(
            text=escape(layer) + outside,
            x=math.log10(_sideways(widest, order)),
            y=min(widest.bits, tall),
            textangle=-50,
            xanchor="left",
            yanchor="bottom",
            yshift=4,
            showarrow=False,
            font={"size": 12},
        )
