"""When a layer fits and when it compresses: shares of both per decade of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy
import plotly.graph_objects as go

from bitlens.information.phases import Phases
from bitlens.report.markup import Html, table, tag
from bitlens.report.phase_series import phases_of, spread_of
from bitlens.report.plane_series import decades
from bitlens.report.quantities import ABSENT, plural
from bitlens.report.runs import Run
from bitlens.report.statistics import Summary
from bitlens.report.style import COLORS, GRID, frame

FIT, COMPRESSION = COLORS[0], COLORS[1]
TALLEST = 0.44
"""Height of a row's highest bar; rows are 1 apart."""


def phase_figure(runs: Sequence[Run]) -> go.Figure | None:
    """One row per layer: the fit upwards, the compression downwards, mean over seeds.

    A bar's area is the share that happened between two checkpoints. None where no layer's phases
    are defined.
    """
    found = {layer: _defined(by_seed) for layer, by_seed in phases_of(runs).items()}
    rows = [(layer, by_seed) for layer, by_seed in found.items() if by_seed]
    if not rows:
        return None
    figure = frame("step", "", height=110 + 74 * len(rows), margin={"t": 36, "r": 76})
    for row, (layer, by_seed) in enumerate(rows):
        _add_row(figure, -row, layer, by_seed, legend=row == 0)
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_yaxes(
        tickvals=[-row for row in range(len(rows))],
        ticktext=[escape(layer) for layer, _ in rows],
        range=[0.55 - len(rows), 0.55],
        gridcolor=GRID,
    )
    last = max(float(p.u[-1]) for _, by_seed in rows for p in by_seed.values())
    step_axis(figure, last)
    return figure


def step_axis(figure: go.Figure, last: float) -> None:
    """Steps on an axis of log10(1 + step) from 0 to `last`."""
    steps = [0, *(10**power for power in range(int(last) + 1))]
    figure.update_xaxes(
        tickvals=[decades(step) for step in steps],
        ticktext=[f"{step:,}" for step in steps],
        range=[-0.02 * last, 1.02 * last],
    )


def phase_table(variants: Mapping[str, Sequence[Run]]) -> Html:
    """Every layer's phase statistics over seeds; layers undefined for one reason share a row."""
    rows, classes = [], []
    for name, runs in variants.items():
        without: dict[str, list[str]] = {}
        for layer, by_seed in phases_of(runs).items():
            if _defined(by_seed):
                rows.append((tag("b", name), tag("code", layer), *_cells(by_seed)))
                classes.append("")
            elif by_seed:
                without.setdefault(_told(by_seed), []).append(layer)
        for reason, layers in without.items():
            rows.append((tag("b", name), _codes(layers), *[ABSENT] * 5, reason))
            classes.append("undefined")
    head = ("variant", "layer", "F (bits)", "C (bits)", "overlap O", "coupling rho")
    head += ("lag (decades)", "defined in")
    return table(head, rows, numbers=range(2, 7), row_classes=classes) if rows else Html("")


def _codes(layers: Sequence[str]) -> Html:
    return Html("<br>".join(tag("code", layer) for layer in layers))


def _cells(by_seed: Mapping[int, Phases]) -> tuple[str, ...]:
    return (
        _spread(spread_of(by_seed, "F")),
        _spread(spread_of(by_seed, "C")),
        _spread(spread_of(by_seed, "overlap")),
        _spread(spread_of(by_seed, "coupling"), sign=True),
        _spread(spread_of(by_seed, "lag"), sign=True),
        _told(by_seed),
    )


def _told(by_seed: Mapping[int, Phases]) -> str:
    """In how many seeds the phases are defined, and the first reason why they are not."""
    told = f"{len(_defined(by_seed))} of {plural(len(by_seed), 'seed')}"
    reasons = [(seed, p.why_not) for seed, p in by_seed.items() if p.why_not is not None]
    return f"{told}; seed {reasons[0][0]}: {reasons[0][1]}" if reasons else told


def _spread(summary: Summary | None, *, sign: bool = False) -> str:
    if summary is None:
        return ABSENT
    mean = f"{summary.mean:+.2f}" if sign else f"{summary.mean:.2f}"
    return mean if summary.sd is None else f"{mean} ± {summary.sd:.2f}"


def _defined(by_seed: Mapping[int, Phases]) -> dict[int, Phases]:
    return {seed: phases for seed, phases in by_seed.items() if phases.defined}


def _add_row(
    figure: go.Figure, base: float, layer: str, by_seed: Mapping[int, Phases], *, legend: bool
) -> None:
    grid = next(iter(by_seed.values())).u
    same = [phases for phases in by_seed.values() if numpy.array_equal(phases.u, grid)]
    widths = numpy.diff(grid)
    curves = {
        "fit": numpy.mean([phases.fit for phases in same], axis=0)[1:] / widths,
        "compression": numpy.mean([phases.compression for phases in same], axis=0)[1:] / widths,
    }
    highest = max(float(curve.max()) for curve in curves.values())
    upto = [f"{round(10**end - 1):,}" for end in grid[1:]]
    for name, color, sign in (("fit", FIT, 1), ("compression", COMPRESSION, -1)):
        figure.add_bar(
            x=(grid[1:] + grid[:-1]) / 2,
            y=sign * TALLEST * curves[name] / highest,
            base=base,
            width=widths,
            name=name,
            legendgroup=name,
            showlegend=legend,
            marker={"color": color, "line": {"width": 0}},
            customdata=list(zip(numpy.round(curves[name] * widths, 4), upto, strict=True)),
            hovertemplate=f"{escape(layer)}, {name}, mean of {len(same)}<br>"
            "%{customdata[0]:.1%} of it up to step %{customdata[1]}<extra></extra>",
        )
    overlap, coupling = spread_of(by_seed, "overlap"), spread_of(by_seed, "coupling")
    told = [f"O {overlap.mean:.2f}"] if overlap is not None else []
    told += [f"rho {coupling.mean:+.2f}"] if coupling is not None else []
    figure.add_annotation(
        text="<br>".join(told),
        x=1.0,
        xref="paper",
        xshift=8,
        y=base,
        xanchor="left",
        align="left",
        showarrow=False,
        font={"size": 12},
    )
