"""The bar above the planes: which values, which seed, which step, which layers.

It is plain HTML that the page's script listens to; the track of the slider is the color scale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from bitlens.report.markup import Html, join, tag
from bitlens.report.plane_figures import time_colors
from bitlens.report.plane_series import MEAN, Track

VALUES = {
    "sample": "exact on the samples (plug-in)",
    "estimate": "estimate for the population (CWJ)",
}
KEY = {
    "reliable": ("●", "reliable"),
    "corrected": ("■", "needs its correction"),
    "unreliable": ("◆", "unreliable"),
    "saturated": ("○", "saturated: says nothing about the net"),
}


def controls(tracks: Sequence[Track]) -> Html:
    """The bar for the panels of all these tracks."""
    steps = sorted({step for track in tracks for step in track.steps})
    views = list(dict.fromkeys(track.view for track in tracks))
    seeds = sorted((view for view in views if view != MEAN), key=int)
    options = [(MEAN, "mean over seeds")] if MEAN in views else []
    options += [(seed, f"seed {seed}") for seed in seeds]
    layers = dict.fromkeys(track.layer for track in tracks)
    choices = join(
        (
            _select("values", "values", list(VALUES.items())),
            _select("view", "runs", options),
        )
    )
    return Html(
        f'<div class="plane-bar" data-steps="{escape(json.dumps(steps))}">'
        f'<div class="choices">{choices}</div>{_time(steps)}{_chips(list(layers))}{_key()}</div>'
    )


def _select(name: str, label: str, options: Sequence[tuple[str, str]]) -> Html:
    inner = "".join(
        f'<option value="{escape(value)}">{escape(told)}</option>' for value, told in options
    )
    return Html(
        f'<label>{escape(label)} <select name="{name}" autocomplete="off">{inner}</select></label>'
    )


def _time(steps: Sequence[int]) -> Html:
    last = len(steps) - 1
    stops = ", ".join(time_colors(steps, steps[-1])) if last > 0 else "gray, gray"
    return Html(
        '<div class="time"><button type="button" class="play">play</button>'
        f'<input type="range" aria-label="step" min="0" max="{last}" value="{last}" step="1" '
        f'autocomplete="off" style="--track: linear-gradient(90deg, {escape(stops)})">'
        f"<output>step {steps[-1]}</output></div>"
    )


def _chips(layers: Sequence[str]) -> Html:
    made = [
        Html(
            f'<button type="button" class="chip" aria-pressed="true" data-layer="{escape(name)}">'
            f"{escape(name)}</button>"
        )
        for name in layers
    ]
    return tag("div", *made, classes="chips")


def _key() -> Html:
    parts = [
        tag("span", tag("span", sign, classes=f"sign {flag}"), f" {told}")
        for flag, (sign, told) in KEY.items()
    ]
    told = (
        "color: log10(1 + step), as on the slider",
        "click a layer to hide it, twice for it alone",
    )
    return tag("p", *parts, *(tag("span", one) for one in told), classes="key")
