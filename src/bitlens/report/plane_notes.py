"""What a reader of the information plane must know before believing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bitlens.report.plane_series import layers_of, planes
from bitlens.report.plane_tables import flag_shares
from bitlens.report.quantities import plural
from bitlens.report.runs import Comparison, Run


def plane_warnings(comparison: Comparison) -> Iterator[str]:
    """Reasons for care in the planes: saturated layers, torn files, unequal probes."""
    for name, runs in comparison.variants.items():
        yield from _missing(name, runs)
        yield from _distrust(name, runs)
    yield from _unequal_probes(comparison.runs)


def _missing(name: str, runs: Sequence[Run]) -> Iterator[str]:
    measured = planes(runs)
    absent = [str(run.seed) for run in runs if run.seed not in measured]
    if measured and absent:
        yield (
            f"{name}: no information plane was measured for seed {', '.join(absent)}; "
            "it is in no mean of the planes."
        )
    for seed, plane in measured.items():
        if plane.torn:
            yield f"{name}, seed {seed}: the last line of {plane.path.name} is cut off."


def _distrust(name: str, runs: Sequence[Run]) -> Iterator[str]:
    layers = layers_of(runs)
    shares = {layer: flag_shares(runs, layer) for layer in layers}
    stuck = [layer for layer in layers if shares[layer].get("saturated") == 1]
    if stuck:
        yield (
            f"{name}: {len(stuck)} of {plural(len(layers), 'layer')} "
            f"{'is' if len(stuck) == 1 else 'are'} saturated at every measured step "
            f"({', '.join(stuck)}): nearly every sample has a code of its own, so "
            f"{'its' if len(stuck) == 1 else 'their'} place in the plane tells the number of "
            "samples and nothing about the net."
        )
    others = [layer for layer in layers if layer not in stuck]
    weak = [layer for layer in others if _distrusted(shares[layer]) > 0.5]
    if weak:
        yield (
            f"{name}: most points of {', '.join(weak)} are saturated or unreliable as statements "
            "about the data's distribution; they are exact for the measured samples alone."
        )


def _distrusted(shares: dict[str, float]) -> float:
    return shares.get("saturated", 0.0) + shares.get("unreliable", 0.0)


def _unequal_probes(runs: Sequence[Run]) -> Iterator[str]:
    measured = [run.plane for run in runs if run.plane is not None and run.plane.rows]
    probes = {(p.probe["split"], p.samples, p.probe.get("digest")) for p in measured}
    if len(probes) > 1:
        told = ", ".join(sorted(f"{count:,} of {split}" for split, count, _ in probes))
        yield (
            f"The information planes were measured on different samples ({told}): positions can be "
            "compared within one of them only."
        )
    readouts = {layer: p.readouts[layer] for p in measured for layer in p.layers}
    unequal = {
        layer for p in measured for layer in p.layers if p.readouts[layer] != readouts[layer]
    }
    if unequal:
        yield (
            f"The runs read {', '.join(sorted(unequal))} in different ways: their positions in the "
            "information plane cannot be compared."
        )
