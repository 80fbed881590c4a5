"""Figures with one line or row per layer: the MI bound, sign flips and code entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from bitlens.report.figures import Measure, add_curves, marks
from bitlens.report.quantities import percent
from bitlens.report.runs import Comparison, Run
from bitlens.report.series import averaged_runs, empty, layer_series, layers_in, mean, series
from bitlens.report.style import BASELINE, ZERO, epoch_axis, frame, variant_colors

BOUND = Measure(field="bound", axis="nats")
SCORE = "score (not a bound)"


def is_bound(runs: Sequence[Run]) -> bool:
    """Whether what these runs printed is a lower bound of MI at every epoch."""
    return all(
        row.get("bound_valid") is not False
        for run in runs
        for row in run.metrics
        if row.get("bound") is not None
    )


def bound_figure(comparison: Comparison) -> go.Figure | None:
    """The MI bound over epochs with its ceiling dashed; a mere score is dotted and hollow.

    None when no run has an objective that reports a bound.
    """
    figure = frame("epoch", "nats")
    colors = variant_colors(comparison)
    for name, runs in comparison.variants.items():
        if is_bound(runs):
            add_curves(figure, name, runs, BOUND, color=colors[name], label=f"{name}: bound")
        else:
            look = {"dash": "dot", "symbol": "circle-open", "color": colors[name]}
            add_curves(figure, name, runs, BOUND, label=f"{name}: {SCORE}", **look)
    if not figure.data:
        return None
    _add_ceilings(figure, comparison)
    figure.update_yaxes(zeroline=True, zerolinecolor=ZERO, zerolinewidth=1)
    epoch_axis(figure, max(run.recipe["epochs"] for run in comparison.runs))
    return figure


def bound_layers_figure(runs: Sequence[Run]) -> go.Figure | None:
    """The bound of each layer of one variant, mean over seeds, colored from first to last.

    None with fewer than two layers, which the figure of the whole net shows already.
    """
    layers = layers_in(runs, "bound_layers")
    if len(layers) < 2:
        return None
    figure = frame("epoch", "nats", height=max(340, 130 + 19 * len(layers)), margin={"t": 16})
    depth = [0.2 + 0.65 * i / max(1, len(layers) - 1) for i in range(len(layers))]
    for layer, color in zip(layers, sample_colorscale("Plasma", depth), strict=True):
        many = [layer_series(run, "bound_layers", layer) for run in averaged_runs(runs)]
        curve = mean(many)
        if not empty(curve):
            figure.add_scatter(
                x=list(curve),
                y=list(curve.values()),
                name=escape(layer),
                mode=marks(curve),
                line={"color": color, "width": 1.8, "dash": "solid" if is_bound(runs) else "dot"},
                marker={"size": 5},
                hovertemplate=f"{escape(layer)}<br>epoch %{{x}}: %{{y:.3f}} nats<extra></extra>",
            )
    if not figure.data:
        return None
    ceiling = mean([series(run, "ceiling") for run in averaged_runs(runs)])
    if not empty(ceiling):
        _add_ceiling(figure, ceiling, "ceiling", BASELINE)
    figure.update_yaxes(zeroline=True, zerolinecolor=ZERO, zerolinewidth=1)
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"})
    epoch_axis(figure, max(run.recipe["epochs"] for run in runs))
    return figure


def flip_maps(comparison: Comparison) -> dict[str, go.Figure]:
    """Per variant with binary layers: sign-flip rate, layer by epoch, on a shared log color."""
    tables = _tables(comparison, "flip_rate_layers")
    positive = [v for rows in tables.values() for row in rows.values() for v in row if v]
    if not positive:
        positive = [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    low = min(low, high - 1)
    ticks = list(range(low, high + 1))
    labels = [percent(10.0**tick, max(0, -tick - 2)) for tick in ticks]
    bar = {**_BAR, "tickvals": ticks, "ticktext": labels}
    scale = {"zmin": low, "zmax": high, "colorscale": "Cividis", "colorbar": bar}
    return {
        name: _map(
            rows,
            comparison.variants[name],
            [[_log(value, low) for value in row] for row in rows.values()],
            "%{customdata:.3%} of the signs flipped",
            scale,
        )
        for name, rows in tables.items()
    }


def entropy_maps(comparison: Comparison) -> dict[str, go.Figure]:
    """Per variant with binary layers: entropy of a sign in bits, layer by epoch, shared color."""
    tables = _tables(comparison, "code_entropy_layers")
    found = [v for rows in tables.values() for row in rows.values() for v in row if v is not None]
    low = min(0.9, math.floor(10 * min(found, default=0.0)) / 10)
    scale = {"zmin": low, "zmax": 1, "colorscale": "Cividis", "colorbar": _BAR}
    return {
        name: _map(
            rows, comparison.variants[name], list(rows.values()), "%{customdata:.3f} bits", scale
        )
        for name, rows in tables.items()
    }


_BAR = {"thickness": 10, "outlinewidth": 0, "xpad": 4, "ypad": 0, "len": 1.0}


def _add_ceilings(figure: go.Figure, comparison: Comparison) -> None:
    drawn: dict[tuple, list[str]] = {}
    for name, runs in comparison.variants.items():
        curve = mean([series(run, "ceiling") for run in averaged_runs(runs)])
        if not empty(curve):
            drawn.setdefault(tuple(curve.items()), []).append(name)
    colors = variant_colors(comparison)
    for items, names in drawn.items():
        label = "ceiling" if len(drawn) == 1 else f"ceiling of {', '.join(names)}"
        _add_ceiling(figure, dict(items), label, colors[names[0]])


def _add_ceiling(figure: go.Figure, curve: dict[int, float | None], label: str, color: str) -> None:
    figure.add_scatter(
        x=list(curve),
        y=list(curve.values()),
        name=escape(label),
        mode="lines",
        line={"color": color, "width": 1.6, "dash": "dash"},
        hovertemplate=f"{escape(label)}: %{{y:.3f}} nats<extra></extra>",
    )


def _tables(comparison: Comparison, field: str) -> dict[str, dict[str, list[float | None]]]:
    tables = {}
    for name, runs in comparison.variants.items():
        chosen = averaged_runs(runs)
        rows = {
            layer: list(mean([layer_series(run, field, layer) for run in chosen]).values())
            for layer in layers_in(runs, field)
        }
        if any(value is not None for row in rows.values() for value in row):
            tables[name] = rows
    return tables


def _map(
    rows: dict[str, list[float | None]],
    runs: Sequence[Run],
    colors: list[list[float | None]],
    hover: str,
    scale: dict,
) -> go.Figure:
    epochs = list(mean([series(run, "epoch") for run in averaged_runs(runs)]))
    figure = frame("epoch", "", height=90 + 22 * len(rows), margin={"t": 8})
    figure.add_heatmap(
        x=epochs,
        y=[escape(layer) for layer in rows],
        z=colors,
        customdata=list(rows.values()),
        hovertemplate=f"%{{y}}, epoch %{{x}}<br>{hover}<extra></extra>",
        xgap=1 if len(epochs) <= 30 else 0,
        ygap=1,
        **scale,
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", dtick=1)
    figure.update_xaxes(showgrid=False)
    epoch_axis(figure, max(run.recipe["epochs"] for run in runs))
    return figure


def _log(value: float | None, floor: int) -> float | None:
    """The decimal logarithm; a rate of zero takes the lowest color."""
    if value is None:
        return None
    return math.log10(value) if value > 0 else float(floor)
