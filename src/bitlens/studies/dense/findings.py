"""What the runs say: means over seeds, distance to a constant, share of the float twin, gain from CMIM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bitlens.errors import BitlensError
from bitlens.models import FLOAT
from bitlens.report.runs import Run
from bitlens.report.statistics import PairedDifference, paired_difference, summarize, verdict
from bitlens.studies.dense.comparisons import DenseComparison, Variant
from bitlens.studies.dense.metrics import HEADLINES, METRICS
from bitlens.tasks.constants import best_constants

CONSTANT = "constant"
"""Stands for the method of a predictor that looks at no image."""

Constants = Mapping[str, Mapping[str, float]]
"""Metrics of constant predictors, by what they predict."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over paired seeds with its 95 % interval; no ends from a single seed, all None from none."""

    n: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None


NOTHING = Interval()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One metric of one variant, or of a constant.

    Attributes:
        task, data, variant, method, objective: of the runs; of a constant its name and "constant".
        metric: a name of `METRICS`.
        n: finished seeds; 0 for a constant, which is computed once.
        mean, sd: over seeds; sd is None from one seed.
        constant: the best value of this metric that any constant reaches.
        above: how much better the mean is than that, more is better for every metric.
        share: of the float twin's value, paired by seed; of metrics of which more is better.
        plain: the variant that lacks nothing but CMIM; empty where there is none.
        gain: this variant minus `plain`, paired by seed, in the metric's own sense.
        verdict: "better", "worse", "no difference" or "one seed"; empty without `plain`.
        parameters, bytes_latent, bytes_packed: of one net.
        smaller: bytes of the float net by `bytes_packed`.
        time: training time by that of the plain variant, paired by seed.
    """

    task: str
    data: str
    variant: str
    method: str
    objective: str
    metric: str
    n: int
    mean: float
    sd: float | None = None
    constant: float
    above: float
    share: Interval = NOTHING
    plain: str = ""
    gain: Interval = NOTHING
    verdict: str = ""
    parameters: int | None = None
    bytes_latent: int | None = None
    bytes_packed: int | None = None
    smaller: float | None = None
    time: Interval = NOTHING


def findings(comparison: DenseComparison, constants: Constants) -> list[Finding]:
    """Constants first, then the variants, every metric of the task each.

    Raises:
        BitlensError: a metric of a run is missing or not finite.
    """
    best = best_constants(constants)
    found = [
        _of_constant(comparison, name, metric, value, best[metric])
        for name, values in constants.items()
        for metric, value in values.items()
    ]
    for variant in comparison.variants:
        found += [
            _of_variant(comparison, variant, metric, best[metric])
            for metric in METRICS
            if metric in best
        ]
    return found


def verdicts(comparison: DenseComparison) -> list[str]:
    """A sentence for each variant with CMIM and each headline metric of the task."""
    by_name = {variant.name: variant for variant in comparison.variants}
    told = []
    for variant in comparison.binary:
        if variant.plain is None:
            continue
        for metric in HEADLINES:
            pair = [values(own, metric) for own in (variant, by_name[variant.plain])]
            if not all(pair) or not pair[0].keys() & pair[1].keys():
                continue
            sentence = verdict(paired_difference(*pair), variant.name, variant.plain)
            told.append(f"{METRICS[metric].title.removesuffix(', %')}: {sentence}.")
    return told


def values(variant: Variant, metric: str) -> dict[int, float]:
    """A metric on the test split by seed; empty where the task has none of this name.

    Raises:
        BitlensError: a run lacks what the others have.
    """
    stored = {
        seed: (net.run.summary or {}).get("test_metrics", {}) for seed, net in variant.nets.items()
    }
    held = {seed: found[metric] for seed, found in stored.items() if metric in found}
    if held and len(held) < len(stored):
        (seed, *_) = stored.keys() - held.keys()
        raise BitlensError(
            f"{variant.nets[seed].run.path}/summary.json: {metric} is missing from test_metrics"
        )
    return held


def _of_constant(
    comparison: DenseComparison, name: str, metric: str, value: float, best: float
) -> Finding:
    return Finding(
        task=comparison.task,
        data=comparison.recipe.data,
        variant=name,
        method=CONSTANT,
        objective="",
        metric=metric,
        n=0,
        mean=value,
        constant=best,
        above=METRICS[metric].better(value, best),
    )


def _of_variant(comparison: DenseComparison, variant: Variant, metric: str, best: float) -> Finding:
    by_seed = values(variant, metric)
    if not by_seed:
        raise BitlensError(
            f"{variant.nets[min(variant.nets)].run.path}/summary.json: no {metric} among its test_metrics"
        )
    over = summarize(by_seed.values())
    plain = next((own for own in comparison.binary if own.name == variant.plain), None)
    gain = _paired(by_seed, values(plain, metric)) if plain else None
    recipe, size = variant.recipe, variant.nets[min(variant.nets)].run
    real = comparison.real.nets[min(comparison.real.nets)].run
    latent, packed = real.measured("bytes_latent"), size.measured("bytes_packed")
    binary = recipe.method != FLOAT
    return Finding(
        task=comparison.task,
        data=comparison.recipe.data,
        variant=variant.name,
        method=recipe.method,
        objective=recipe.objective,
        metric=metric,
        n=over.n,
        mean=over.mean,
        sd=over.sd,
        constant=best,
        above=METRICS[metric].better(over.mean, best),
        share=_share(comparison, variant, metric),
        plain=plain.name if plain else "",
        gain=_interval(gain),
        verdict=_word(metric, gain),
        parameters=_count(size, "parameters"),
        bytes_latent=_count(size, "bytes_latent"),
        bytes_packed=_count(size, "bytes_packed") if binary else None,
        smaller=latent / packed if binary and latent and packed else None,
        time=_time(variant, comparison.plain_of(variant)),
    )


def _share(comparison: DenseComparison, variant: Variant, metric: str) -> Interval:
    if variant.recipe.method == FLOAT or METRICS[metric].error:
        return NOTHING
    return _ratio(values(variant, metric), values(comparison.real, metric))


def _count(run: Run, key: str) -> int | None:
    value = run.measured(key)
    return None if value is None else int(value)


def _time(variant: Variant, plain: Variant | None) -> Interval:
    """Of seeds that both variants trained on the same processor with as many threads."""
    if plain is None:
        return NOTHING

    def machine(net: Variant, seed: int) -> list[object]:
        return [net.nets[seed].run.env.get(key) for key in ("cpu", "threads", "device")]

    alike = [
        seed
        for seed in variant.nets.keys() & plain.nets.keys()
        if machine(variant, seed) == machine(plain, seed)
    ]
    own, other = (
        {seed: net.nets[seed].run.seconds or 0.0 for seed in alike} for net in (variant, plain)
    )
    return _ratio(own, other)


def _ratio(a: Mapping[int, float], b: Mapping[int, float]) -> Interval:
    """The mean of a / b over common seeds where b is above zero."""
    ratios = {seed: a[seed] / b[seed] for seed in a.keys() & b.keys() if b[seed] > 0}
    return _interval(_paired(ratios, dict.fromkeys(ratios, 0.0)))


def _paired(a: Mapping[int, float], b: Mapping[int, float]) -> PairedDifference | None:
    return paired_difference(a, b) if a.keys() & b.keys() else None


def _interval(found: PairedDifference | None) -> Interval:
    if found is None:
        return NOTHING
    return Interval(n=found.n, mean=found.mean, low=found.low, high=found.high)


def _word(metric: str, gain: PairedDifference | None) -> str:
    if gain is None:
        return ""
    if gain.low is None or gain.high is None:
        return "one seed"
    if gain.low <= 0 <= gain.high:
        return "no difference"
    return "better" if METRICS[metric].better(gain.mean, 0.0) > 0 else "worse"
