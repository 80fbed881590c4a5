"""Where each layer ends in the plane, against the baseline, and how far its points can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bitlens.report.markup import Html, details, join, table, tag
from bitlens.report.plane import FLAGS, Plane
from bitlens.report.plane_series import averaged_planes, having_planes, layers_of
from bitlens.report.quantities import ABSENT, plural
from bitlens.report.runs import Comparison, Run
from bitlens.report.statistics import paired_difference, spell, summarize

PROBE = ("split", "samples", "digest")
"""What two planes must share for their values to be compared."""
CEILING = "at its ceiling"


def final_table(comparison: Comparison) -> Html:
    """The last measured values of every layer and variant, with paired differences and flags.

    Layers that end at their ceiling in every variant are folded away.
    """
    variants = having_planes(comparison)
    head = ("layer", "variant", "trust in its points", "I(X;T), bits", "I(T;Y), bits")
    several = comparison.baseline in variants and len(variants) > 1
    if several:
        told = f"difference to {comparison.baseline}, 95 % CI"
        head = (*head[:4], told, head[4], told)
    shown, folded = [], []
    layers = list(dict.fromkeys(name for runs in variants.values() for name in layers_of(runs)))
    for layer in layers:
        rows = list(_layer_rows(comparison.baseline, variants, layer, several=several))
        stuck = all(row[3] == CEILING for row in rows)
        (folded if stuck else shown).append(rows)
    numbers = range(3, len(head))
    parts = [_table(head, rows, numbers) for rows in (shown, folded)]
    if folded:
        title = f"{plural(len(folded), 'layer')} saturated at the end in every variant"
        parts[1] = details(title, parts[1])
    return join(
        (_flag_key(), *(part for part, rows in zip(parts, (shown, folded), strict=True) if rows))
    )


def _table(
    head: Sequence[str], groups: Sequence[Sequence[Sequence[object]]], numbers: range
) -> Html:
    rows = [row for rows in groups for row in rows]
    classes = ["undefined" if row[3] == CEILING else "" for row in rows]
    return table(head, rows, numbers=numbers, row_classes=classes)


def _layer_rows(
    baseline: str, variants: Mapping[str, Sequence[Run]], layer: str, *, several: bool
) -> Iterator[tuple[object, ...]]:
    for name, runs in variants.items():
        if layer in layers_of(runs):
            against = None if name == baseline else variants.get(baseline, ())
            cells = _values(layer, runs, against, several=several)
            yield (tag("code", layer), name, trust_bar(runs, layer), *cells)


def flag_shares(runs: Sequence[Run], layer: str) -> dict[str, float]:
    """Share of the layer's measured points by flag, over all seeds a mean is taken over."""
    flags = [
        reading["flag"]
        for plane in averaged_planes(runs).values()
        if layer in plane.layers
        for reading in plane.readings(layer)
    ]
    return {flag: flags.count(flag) / len(flags) for flag in FLAGS} if flags else {}


def trust_bar(runs: Sequence[Run], layer: str) -> Html:
    """The shares by flag as a bar, and the largest one in words."""
    shares = flag_shares(runs, layer)
    if not shares:
        return Html(ABSENT)
    parts = "".join(
        f'<i class="{flag}" style="width:{100 * share:.2f}%"></i>'
        for flag, share in shares.items()
        if share
    )
    largest = max(shares, key=lambda flag: shares[flag])
    told = f"{100 * shares[largest]:.0f} % {largest}"
    return join((Html(f'<span class="flags">{parts}</span> '), tag("span", told, classes="quiet")))


def _flag_key() -> Html:
    signs = [tag("span", Html(f'<i class="dot {flag}"></i>'), tag("span", flag)) for flag in FLAGS]
    return tag("p", *signs, classes="key")


def _values(
    layer: str, runs: Sequence[Run], baseline: Sequence[Run] | None, *, several: bool
) -> Iterator[str]:
    own = _last(layer, runs)
    saturated = any(reading["flag"] == "saturated" for _, reading in own.values())
    for field in ("entropy", "information"):
        yield CEILING if saturated else _spread([reading[field] for _, reading in own.values()])
        if several and baseline is None:
            yield "baseline"
        elif several:
            yield ABSENT if saturated else _difference(own, _last(layer, baseline or ()), field)


def _last(layer: str, runs: Sequence[Run]) -> dict[int, tuple[Plane, Mapping[str, Any]]]:
    """Plane and last reading of the layer, by seed."""
    return {
        seed: (plane, plane.readings(layer)[-1])
        for seed, plane in averaged_planes(runs).items()
        if layer in plane.layers
    }


def _difference(
    own: dict[int, tuple[Plane, Mapping[str, Any]]],
    base: dict[int, tuple[Plane, Mapping[str, Any]]],
    field: str,
) -> str:
    if not base:
        return "no such layer"
    if any(reading["flag"] == "saturated" for _, reading in base.values()):
        return "baseline saturated"
    common = sorted(own.keys() & base.keys())
    if not common:
        return "no common seed"
    if any(_probe(own[seed][0]) != _probe(base[seed][0]) for seed in common):
        return "other probe"
    if any(own[seed][1]["levels"] != base[seed][1]["levels"] for seed in common):
        return "other read-out"
    difference = paired_difference(
        {seed: own[seed][1][field] for seed in common},
        {seed: base[seed][1][field] for seed in common},
    )
    mean, low, high = spell(difference, "bits")
    return f"{mean} (no interval)" if low == ABSENT else f"{mean} ({low} .. {high})"


def _probe(plane: Plane) -> list[Any]:
    return [plane.probe.get(key) for key in PROBE]


def _spread(values: Sequence[float]) -> str:
    summary = summarize(values)
    return f"{summary.mean:.2f}" + ("" if summary.sd is None else f" ± {summary.sd:.2f}")
