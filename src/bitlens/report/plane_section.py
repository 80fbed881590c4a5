"""The section on the information plane: paths, phases, regimes, and where the layers end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bitlens.report.markup import Html, join, plot, tag
from bitlens.report.phase_figures import phase_figure, phase_table
from bitlens.report.plane_controls import controls
from bitlens.report.plane_figures import plane_figure, shared_extent
from bitlens.report.plane_series import Track, having_planes, planes, tracks
from bitlens.report.plane_tables import final_table
from bitlens.report.quantities import plural
from bitlens.report.regime_figure import placed_layers, regime_figure
from bitlens.report.runs import Comparison, Run

HOW_TO_READ = (
    "Each path is one layer through training, from dark (step 0) to light. I(X;T), how much of the "
    "input a layer T keeps, is the entropy of its codes, because a layer without noise is a function "
    "of the input; I(T;Y) is what it tells of the label. Nothing can lie right of log2 N or above "
    "H(Y) (dashed) when measured on N samples, nor above I(T;Y) = I(X;T) (dotted). A saturated layer "
    "gives nearly every sample a code of its own: then I(X;T) = log2 N and I(T;Y) = H(Y) for any net, "
    "even an untrained one."
)
PHASES = (
    "Fit: growth of I(T;Y) to new heights, F in total. Compression: fall of I(X;T) from its highest, C "
    "in total. Overlap O: 0 when the two happen at different times, 1 when at the same; noise and "
    "sparse checkpoints lower it. Coupling rho, the rank correlation of I(X;T) and I(T;Y) until 90 % of "
    "the fit is done: +1 fits while it expands, -1 fits while it compresses. Lag: decades of steps by "
    "which half of the compression comes after half of the fit. Mean ± standard deviation over seeds."
)
BARS = (
    "Share of the fit upwards, of the compression downwards, mean over seeds. A bar's area is what "
    "happened between two checkpoints; each row is scaled to its highest bar. Layers whose phases are "
    "undefined are in the table only."
)
REGIMES = (
    "Square: the bits a layer could hold (triangle: more than fit here); dot: the entropy measured at "
    "the end. "
    "Shaded: how many bits the plug-in entropy of D fair bits falls short at N samples, exact, a worst "
    "case: peaked codes err less, so read a layer between its dot and its square. Layers measured on "
    "the same N are spread sideways in the order of the net."
)
FINAL = (
    "Last measured step, mean ± standard deviation over seeds, exact on the probe's samples. "
    "Differences are paired by seed, with a 95 % t-interval, uncorrected for the number of layers; "
    "more bits are neither better nor worse. Trust: share of all points of training by flag, as "
    "statements about the data's distribution."
)


def plane_section(comparison: Comparison) -> Html:
    """The whole section; empty where no run has a measured plane."""
    variants = having_planes(comparison)
    if not variants:
        return Html("")
    paths = {name: tracks(runs) for name, runs in variants.items()}
    return join(
        (
            tag("p", HOW_TO_READ, classes="quiet"),
            _panels(variants, paths),
            tag("h3", "Where the layers end"),
            tag("p", FINAL, classes="quiet"),
            final_table(comparison),
            _phases(variants),
            plot(
                regime_figure(placed_layers(paths)),
                "What so many samples can show",
                REGIMES,
                "; ".join(dict.fromkeys(probe_source(runs) for runs in variants.values())),
            ),
        )
    )


def probe_source(runs: Sequence[Run]) -> str:
    """What the planes were measured on: "n = 5 seeds, N = 10,000 samples, test split"."""
    found = planes(runs)
    probes = dict.fromkeys(
        f"N = {plane.samples:,} samples, {plane.probe['split']} split" for plane in found.values()
    )
    return f"n = {plural(len(found), 'seed')}, {' or '.join(probes)}"


def reading_told(runs: Sequence[Run]) -> str:
    """How the layers were read, and what the numbers are exact for."""
    found = list(planes(runs).values())
    readouts = dict.fromkeys(name for plane in found for name in plane.readouts.values())
    kinds = {
        reading["reading"]
        for plane in found
        for row in plane.rows
        for reading in row["layers"].values()
    }
    told = f"Read-out: {', '.join(readouts)}. "
    if kinds == {"population"}:
        return told + "The samples are all inputs there are, so the values need no estimate."
    return (
        told + "Exact on these N samples; as an estimate for the data's distribution see the "
        "CWJ value and its interval (hover, or choose it above)."
    )


def _panels(variants: Mapping[str, Sequence[Run]], paths: Mapping[str, Sequence[Track]]) -> Html:
    everything = [track for many in paths.values() for track in many]
    extent = shared_extent(everything)
    panels = [
        plot(plane_figure(paths[name], extent), name, reading_told(runs), probe_source(runs))
        for name, runs in variants.items()
    ]
    bar = controls(everything)
    return tag("div", bar, tag("div", *panels, classes="panels"), classes="planes")


def _phases(variants: Mapping[str, Sequence[Run]]) -> Html:
    statistics = phase_table(variants)
    if not statistics:
        return Html("")
    figures = [
        plot(phase_figure(runs), name, BARS, probe_source(runs)) for name, runs in variants.items()
    ]
    shown = [figure for figure in figures if figure]
    return join(
        (
            tag("h3", "Fit and compression"),
            tag("p", PHASES, classes="quiet"),
            tag("div", *shown, classes="pair even") if shown else "",
            statistics,
        )
    )
