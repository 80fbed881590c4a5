"""Figures that compare variants: paired intervals, accuracy per seed, curves over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go

from bitlens.report.runs import Comparison, Run
from bitlens.report.series import averaged_runs, empty, mean, series
from bitlens.report.standings import Standing, accuracies
from bitlens.report.statistics import PairedDifference
from bitlens.report.style import SEED_OPACITY, ZERO, epoch_axis, frame, variant_colors

JITTER = 0.11


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of metrics.jsonl to draw over epochs; `train` names its training twin."""

    field: str
    axis: str
    train: str | None = None
    form: str = ".3f"
    """A d3 format; one ending in % shows fractions as percent."""
    pure: bool = False
    """Whether `train` has an added objective in it, so that the two cannot share an axis then."""


LOSS = Measure(field="eval_loss", train="train_loss", axis="loss", pure=True)
FLIPS = Measure(field="flip_rate", axis="signs flipped in the epoch", form=".2%")
ENTROPY = Measure(field="code_entropy", axis="entropy of a sign (bits)")


def headline(metric: str) -> Measure:
    """The tasks' headline metric; only accuracy is measured in the same way while training."""
    train = "train_accuracy" if metric == "accuracy" else None
    return Measure(field="eval_accuracy", train=train, axis=metric, form=".2%")


def interval_figure(comparison: Comparison, standings: Sequence[Standing]) -> go.Figure | None:
    """Paired difference to the baseline per variant, in points, with its 95 % interval.

    Small dots are the differences of single seeds. None when no variant can be compared.
    """
    shown = [(one, one.difference) for one in standings if one.difference is not None]
    if not shown:
        return None
    colors = variant_colors(comparison)
    figure = frame("points better than the baseline", "", height=110 + 64 * len(shown))
    figure.add_vline(x=0, line={"color": ZERO, "width": 1.5})
    ends = [0.0]
    for row, (standing, difference) in enumerate(shown):
        color = colors[standing.variant]
        singles = _single_differences(comparison, standing.variant)
        _add_differences(figure, row, singles, color)
        _add_interval(figure, row, standing, difference, color)
        ends += [*singles.values(), 100 * (difference.low or 0), 100 * (difference.high or 0)]
    _name_rows(figure, [standing.variant for standing, _ in shown])
    margin = 0.08 * (max(ends) - min(ends)) or 1.0
    figure.update_xaxes(range=[min(ends) - margin, max(ends) + margin])
    return figure


def accuracy_figure(comparison: Comparison) -> go.Figure | None:
    """Test accuracy of every finished run, one dot per seed, and a bar at each variant's mean.

    None when fewer than two runs have finished: a single dot on an axis tells nothing.
    """
    found = {name: accuracies(runs) for name, runs in comparison.variants.items()}
    found = {name: values for name, values in found.items() if values}
    if sum(len(values) for values in found.values()) < 2:
        return None
    colors = variant_colors(comparison)
    figure = frame(f"test {comparison.metric}", "", height=110 + 64 * len(found))
    for row, (name, values) in enumerate(found.items()):
        seeds = sorted(values)
        figure.add_scatter(
            x=[values[seed] for seed in seeds],
            y=_rows(row, len(seeds)),
            name=escape(name),
            customdata=seeds,
            mode="markers",
            marker={"color": colors[name], "size": 9, "opacity": 0.75},
            hovertemplate="seed %{customdata}: %{x:.2%}<extra></extra>",
            showlegend=False,
        )
        figure.add_scatter(
            x=[sum(values.values()) / len(values)],
            y=[row],
            name=f"{escape(name)}, mean",
            mode="markers",
            marker={"symbol": "line-ns", "size": 30, "line": {"width": 3, "color": colors[name]}},
            hovertemplate=f"mean of {len(values)}: %{{x:.2%}}<extra></extra>",
            showlegend=False,
        )
    _name_rows(figure, list(found))
    figure.update_xaxes(tickformat=".1%")
    return figure


def curve_figure(comparison: Comparison, measure: Measure) -> go.Figure | None:
    """One measure over epochs: seeds thin, means thick, training dashed; None without values.

    The mean is taken over finished runs; an unfinished run is a dotted line that ends early.
    """
    figure = frame("epoch", measure.axis)
    colors = variant_colors(comparison)
    for name, runs in comparison.variants.items():
        add_curves(figure, name, runs, measure, color=colors[name])
    if not figure.data:
        return None
    if measure.form.endswith("%"):
        figure.update_yaxes(tickformat=".1%" if measure.field == "flip_rate" else ".0%")
    epoch_axis(figure, max(run.recipe["epochs"] for run in comparison.runs))
    return figure


def add_curves(
    figure: go.Figure,
    name: str,
    runs: Sequence[Run],
    measure: Measure,
    *,
    color: str,
    label: str | None = None,
    dash: str = "solid",
    symbol: str = "circle",
) -> None:
    """Draw one variant's seeds and mean of one measure; nothing where it has no values.

    Args:
        figure: the figure to draw into.
        name: the variant; its lines are switched on and off together.
        runs: its runs.
        measure: what to draw.
        color: of all its lines.
        label: its name in the legend, the variant by default.
        dash: the mean's line.
        symbol: the mean's markers.
    """
    curves = {run.seed: series(run, measure.field) for run in runs}
    curves = {seed: curve for seed, curve in curves.items() if not empty(curve)}
    unfinished = {run.seed for run in runs if not run.complete}
    for seed, curve in curves.items():
        if len(curves) > 1 or seed in unfinished:
            state = ", unfinished" if seed in unfinished else ""
            figure.add_scatter(
                **_line(curve, name, color, f"seed {seed}{state}", measure.form),
                line={"color": color, "width": 1.2, "dash": "dot" if state else "solid"},
                opacity=SEED_OPACITY if not state else 0.8,
                showlegend=False,
            )
    chosen = [run for run in averaged_runs(runs) if run.seed in curves]
    average = mean([curves[run.seed] for run in chosen])
    if not empty(average):
        what = f"mean of {len(chosen)}" if len(chosen) > 1 else f"seed {chosen[0].seed}"
        drawn = _line(average, name, color, what, measure.form) | {"mode": marks(average)}
        figure.add_scatter(
            **drawn | {"name": escape(label or name, quote=False)},
            line={"color": color, "width": 3, "dash": dash},
            marker={"size": 7, "symbol": symbol},
        )
    if measure.train is not None and not (measure.pure and with_objective(runs)):
        train = mean([series(run, measure.train) for run in averaged_runs(runs)])
        if not empty(train):
            figure.add_scatter(
                **_line(train, name, color, "training, mean", measure.form),
                line={"color": color, "width": 1.8, "dash": "dash"},
                showlegend=False,
            )


def marks(curve: Mapping[int, float | None]) -> str:
    """A line with a marker on every epoch while there is room for them."""
    return "lines+markers" if len(curve) <= 20 else "lines"


def with_objective(runs: Sequence[Run]) -> bool:
    """Whether a training loss of these runs holds more than the task's: an objective, a distillation."""
    return any(
        row.get(key) is not None
        for run in runs
        for row in run.metrics
        for key in ("objective_loss", "distill_loss")
    )


def _line(curve: Mapping[int, float | None], name: str, color: str, what: str, form: str) -> dict:
    return {
        "x": list(curve),
        "y": list(curve.values()),
        "name": f"{escape(name)}, {what}",
        "legendgroup": escape(name),
        "mode": "lines",
        "hovertemplate": f"{escape(name)}, {what}<br>epoch %{{x}}: %{{y:{form}}}<extra></extra>",
    }


def _single_differences(comparison: Comparison, variant: str) -> dict[int, float]:
    """Points better than the baseline, by common seed."""
    own = accuracies(comparison.variants[variant])
    base = accuracies(comparison.variants[comparison.baseline])
    return {seed: 100 * (own[seed] - base[seed]) for seed in sorted(own.keys() & base.keys())}


def _add_differences(figure: go.Figure, row: int, singles: Mapping[int, float], color: str) -> None:
    figure.add_scatter(
        x=list(singles.values()),
        y=[row + 0.28] * len(singles),
        customdata=list(singles),
        mode="markers",
        name="single seeds",
        marker={"color": color, "size": 6, "opacity": 0.6},
        hovertemplate="seed %{customdata}: %{x:+.2f} points<extra></extra>",
        showlegend=False,
    )


def _add_interval(
    figure: go.Figure, row: int, standing: Standing, difference: PairedDifference, color: str
) -> None:
    alone = difference.high is None
    half = 0.0 if difference.high is None else 100 * (difference.high - difference.mean)
    figure.add_scatter(
        x=[100 * difference.mean],
        y=[row],
        name=escape(standing.variant),
        mode="markers",
        marker={"color": color, "size": 12, "symbol": "diamond-open" if alone else "diamond"},
        error_x=None if alone else {"array": [half], "thickness": 2.5, "width": 8, "color": color},
        hovertemplate=f"{escape(standing.sentence or '')}<extra></extra>",
        showlegend=False,
    )


def _rows(row: int, count: int) -> list[float]:
    step = min(JITTER, 0.5 / max(1, count))
    return [row + step * (i - (count - 1) / 2) for i in range(count)]


def _name_rows(figure: go.Figure, names: Sequence[str]) -> None:
    figure.update_layout(margin={"t": 12})
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[escape(_short(name)) for name in names],
        range=[len(names) - 0.45, -0.55],
        showgrid=False,
    )


def _short(name: str, most: int = 22) -> str:
    """A name that leaves room for the plot beside it; the full one is in the hover text."""
    return name if len(name) <= most else f"{name[: most - 3]}..."
