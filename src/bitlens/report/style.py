"""The look that all figures share: a color-blind-safe palette and a plain frame.

Colors are those of Okabe and Ito (Color Universal Design, 2008). The baseline is grey, so that a
color always means a variant that is compared with it.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from bitlens.report.runs import Comparison

BASELINE = "#7a7a7a"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GRID = "rgba(128, 128, 128, 0.22)"
ZERO = "rgba(128, 128, 128, 0.75)"
SEED_OPACITY = 0.38


def variant_colors(comparison: Comparison) -> dict[str, str]:
    """One color per variant, grey for the baseline; with many variants the colors repeat."""
    others = [name for name in comparison.variants if name != comparison.baseline]
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(others)}
    return {comparison.baseline: BASELINE, **colors}


def frame(x: str, y: str, height: int = 340, **changes: Any) -> go.Figure:
    """An empty figure with axis titles; no background, so that the page's own shows through."""
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        height=height,
        margin={"l": 12, "r": 12, "t": 44, "b": 12},
        font={"family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": None},
    )
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True, "ticks": "outside"}
    axis |= {"tickcolor": GRID, "linecolor": GRID}
    figure.update_xaxes(**axis, title={"text": x, "standoff": 8, "font": {"size": 13}})
    figure.update_yaxes(**axis, title={"text": y, "standoff": 8, "font": {"size": 13}})
    figure.update_layout(**changes)
    return figure


def epoch_axis(figure: go.Figure, epochs: int) -> None:
    """Whole epochs on the x axis, every one labelled while there is room."""
    step = 1 if epochs <= 12 else None
    figure.update_xaxes(dtick=step, tickformat="d", rangemode="normal")
