"""The information plane of one variant: a path per layer, colored by the logarithm of the step.

The script of the page moves the planes of all variants together (values, seed, step, layers), so a
panel holds every path that can be asked for; which are shown at first is set here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from bitlens.report.plane_series import MEAN, Track, decades
from bitlens.report.style import BASELINE, ZERO, frame

COLUMNS = (
    *("step", "epoch", "entropy", "information"),
    *("entropy_cwj", "entropy_low", "entropy_high", "entropy_nsb"),
    *("information_cwj", "information_low", "information_high", "information_nsb"),
    *("singleton_share", "doubling_gain", "label_singleton_share", "label_doubling_gain"),
    *("permutation_z", "entropy_sd", "information_sd", "flag"),
)
"""What each point carries along for its hover text and for the page's script."""
SYMBOLS = {
    "reliable": "circle",
    "corrected": "square",
    "unreliable": "diamond",
    "saturated": "circle-open",
}
SCALE = "Viridis"
LIGHTEST = 0.93
"""Where the color scale ends, so that the last step is not lost on white paper."""
SATURATED = "#8c8c8c"
HALO = ", ".join(["0 0 3px var(--paper)"] * 4)
"""Keeps a label readable where it lies on a path, on light and dark paper."""


def time_colors(steps: Sequence[int], last: int) -> list[str]:
    """The color of each step on the scale from step 0 to `last`, by log10(1 + step)."""
    longest = max(decades(last), 1e-9)
    places = [LIGHTEST * min(1.0, decades(step) / longest) for step in steps]
    return sample_colorscale(SCALE, places) if places else []


def plane_figure(
    tracks: Sequence[Track], extent: Mapping[str, Any], height: int = 400
) -> go.Figure:
    """One variant's panel.

    Args:
        tracks: its layers' tracks, means and single seeds.
        extent: what all panels share, from `shared_extent`.
        height: pixels.
    """
    figure = frame("I(X;T) in bits", "I(T;Y) in bits", height, margin={"t": 10, "r": 16})
    views = {track.view for track in tracks}
    shown = MEAN if MEAN in views else tracks[0].view
    for track in tracks:
        _add_track(figure, track, extent["last"], visible=track.view == shown)
    _add_heads(figure)
    ceilings = _draw_ceilings(figure, tracks)
    figure.update_xaxes(range=extent["sample"]["x"], showline=True)
    figure.update_yaxes(range=extent["sample"]["y"], showline=True)
    columns = {name: place for place, name in enumerate(COLUMNS)}
    ranges = {reading: extent[reading] for reading in ("sample", "estimate")}
    figure.update_layout(
        showlegend=False,
        uirevision="plane",
        meta={"plane": True, "columns": columns, "ranges": ranges, "ceilings": ceilings},
    )
    return figure


def shared_extent(tracks: Iterable[Track]) -> dict[str, Any]:
    """The last step and the axis ranges that hold every variant, for both kinds of values.

    "sample" reaches to the ceilings log2 N and H(Y); "estimate" also holds estimates beyond them.
    """
    everything = [(track, reading) for track in tracks for reading in track.readings]
    wide = max(reading["log2_samples"] for _, reading in everything)
    high = max(reading["label_entropy"] for _, reading in everything)
    far = [r["entropy_cwj"] for _, r in everything if r.get("entropy_cwj") is not None]
    tall = [r["information_cwj"] for _, r in everything if r.get("information_cwj") is not None]
    return {
        "last": max(track.steps[-1] for track, _ in everything),
        "sample": _ranges(wide, high),
        "estimate": _ranges(max([wide, *far]), max([high, *tall])),
    }


def _ranges(wide: float, high: float) -> dict[str, list[float]]:
    return {"x": [-0.02 * wide, 1.06 * wide], "y": [-0.04 * high, 1.1 * high]}


def _add_track(figure: go.Figure, track: Track, last: int, *, visible: bool) -> None:
    flags = [reading["flag"] for reading in track.readings]
    colors = [
        SATURATED if flag == "saturated" else color
        for flag, color in zip(flags, time_colors(track.steps, last), strict=True)
    ]
    figure.add_scatter(
        x=[reading["entropy"] for reading in track.readings],
        y=[reading["information"] for reading in track.readings],
        name=f"{escape(track.layer)}, {track.told}",
        mode="lines+markers",
        line={"color": BASELINE, "width": 1},
        marker={
            "color": colors,
            "symbol": [SYMBOLS[flag] for flag in flags],
            "opacity": [0.5 if flag == "unreliable" else 1.0 for flag in flags],
            "size": 7,
            "line": {"width": 0.4, "color": BASELINE},
        },
        customdata=[
            _carried(reading, step, epoch)
            for reading, step, epoch in zip(track.readings, track.steps, track.epochs, strict=True)
        ],
        hovertemplate=_hover(track),
        cliponaxis=False,
        visible=visible,
        meta={"layer": track.layer, "view": track.view, "label": escape(track.layer)},
    )


def _carried(reading: Mapping[str, Any], step: int, epoch: float) -> list[Any]:
    values = {**reading, "step": step, "epoch": epoch}
    return [_rounded(values.get(name)) for name in COLUMNS]


def _rounded(value: Any) -> Any:
    """A hover text shows what it is given: "-" for what is absent, few digits for the rest."""
    if value is None:
        return "-"
    return round(value, 4) if isinstance(value, float) and math.isfinite(value) else value


def _hover(track: Track) -> str:
    first = track.readings[0]
    at = {name: f"%{{customdata[{place}]}}" for place, name in enumerate(COLUMNS)}
    spread = {name: f" ± {at[f'{name}_sd']}" for name in ("entropy", "information")}
    if track.view != MEAN:
        spread = dict.fromkeys(spread, "")
    lines = [
        f"<b>{escape(track.layer)}</b>, {track.told}, {at['flag']}",
        f"step {at['step']}, epoch {at['epoch']}",
        f"on the samples: I(X;T) {at['entropy']}{spread['entropy']}, "
        f"I(T;Y) {at['information']}{spread['information']} bits",
        f"population I(X;T): CWJ {at['entropy_cwj']} "
        f"({at['entropy_low']} .. {at['entropy_high']}), NSB {at['entropy_nsb']}",
        f"population I(T;Y): CWJ {at['information_cwj']} "
        f"({at['information_low']} .. {at['information_high']}), NSB {at['information_nsb']}",
        f"f1/N {at['singleton_share']}, doubling gain {at['doubling_gain']}; "
        f"within labels {at['label_singleton_share']}, {at['label_doubling_gain']}",
        f"permutation z {at['permutation_z']}",
        f"read-out {escape(track.readout)}, {first['units']} units of {first['levels']} levels, "
        f"N = {first['samples']}, {escape(track.split)} split",
    ]
    return "<br>".join(lines) + "<extra></extra>"


def _add_heads(figure: go.Figure) -> None:
    """The layers at the step chosen, labelled; the page's script fills this in."""
    figure.add_scatter(
        x=[],
        y=[],
        text=[],
        mode="markers+text",
        name="at the step chosen",
        marker={"size": 12, "line": {"width": 2, "color": BASELINE}},
        textfont={"size": 12, "shadow": HALO},
        hoverinfo="skip",
        cliponaxis=False,
        meta={"heads": True},
    )


def _draw_ceilings(figure: go.Figure, tracks: Sequence[Track]) -> dict[str, list[float]]:
    """Draw and label log2 N and H(Y), and give back where they are."""
    line = {"color": ZERO, "width": 1.3, "dash": "dash"}
    readings = [reading for track in tracks for reading in track.readings]
    wide = sorted({reading["log2_samples"] for reading in readings})
    high = sorted({reading["label_entropy"] for reading in readings})
    for x in wide:
        figure.add_vline(x=x, line=line, layer="below")
        _write(figure, f"log<sub>2</sub> N = {x:.2f}", x=x, y=0, xanchor="right")
    for y in high:
        figure.add_hline(y=y, line=line, layer="below")
        _write(figure, f"H(Y) = {y:.2f}", x=0, y=y, xanchor="left")
    # A layer knows no more of the label than it keeps of the input.
    dotted = {"type": "line", "line": line | {"dash": "dot"}, "layer": "below"}
    figure.add_shape(x0=0, y0=0, x1=high[-1], y1=high[-1], **dotted)
    return {"x": wide, "y": high}


def _write(figure: go.Figure, text: str, *, x: float, y: float, xanchor: str) -> None:
    figure.add_annotation(
        text=text,
        x=x,
        y=y,
        xanchor=xanchor,
        yanchor="bottom",
        showarrow=False,
        font={"size": 12},
        opacity=0.8,
    )
