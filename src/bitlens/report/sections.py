"""The page's body, from the verdict at the top to the machines at the bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bitlens.report import tables
from bitlens.report.figures import (
    ENTROPY,
    FLIPS,
    LOSS,
    accuracy_figure,
    curve_figure,
    headline,
    interval_figure,
    with_objective,
)
from bitlens.report.layer_figures import (
    SCORE,
    bound_figure,
    bound_layers_figure,
    entropy_maps,
    flip_maps,
    is_bound,
)
from bitlens.report.markup import Html, join, plot, section, tag
from bitlens.report.plane_section import plane_section
from bitlens.report.runs import Comparison, Run
from bitlens.report.standings import Standing, provenance, standings
from bitlens.report.statistics import PairedDifference
from bitlens.report.terminal import spread

SECTIONS = {
    "accuracy": "Accuracy",
    "learning": "Learning",
    "information": "Information",
    "plane": "Information plane",
    "signs": "Signs",
    "layers": "Layers and size",
    "recipes": "Recipes",
    "runs": "Runs and machines",
}


def body(comparison: Comparison, warnings: Sequence[str]) -> Html:
    """Everything between <body> and </body> but the scripts."""
    stands = standings(comparison)
    contents = {
        "accuracy": _accuracy(comparison, stands),
        "learning": _learning(comparison),
        "information": _information(comparison),
        "plane": plane_section(comparison),
        "signs": _signs(comparison),
        "layers": _layers(comparison),
        "recipes": tables.recipe_differences(comparison),
        "runs": join(
            (
                tables.runs_table(comparison),
                tag("h3", "Data"),
                tables.data_table(comparison.runs),
                tag("h3", "Environment"),
                tables.environment_table(comparison.runs),
            )
        ),
    }
    contents = {anchor: part for anchor, part in contents.items() if part}
    menu = join(Html(f'<a href="#{anchor}">{SECTIONS[anchor]}</a>') for anchor in contents)
    parts = [section(anchor, SECTIONS[anchor], part) for anchor, part in contents.items()]
    return join(
        (
            tag("header", *_head(comparison, stands), tag("nav", menu)),
            tag("main", _notes(warnings), *parts),
            tag("noscript", tag("p", "The figures need JavaScript; the tables do not.")),
        )
    )


def _head(comparison: Comparison, stands: Sequence[Standing]) -> Iterator[Html]:
    yield tag("p", "bitlens report", classes="mark")
    yield tag("h1", " vs ".join(comparison.variants))
    yield tag("p", provenance(*comparison.variants.values()), classes="source")
    sentences = [
        tag("p", stand.sentence, classes=f"verdict {direction(stand.difference)}")
        for stand in stands
        if stand.sentence is not None
    ]
    if not sentences:
        sentences = [
            tag("p", _alone(stand, comparison.metric), classes="verdict") for stand in stands
        ]
    yield tag("div", *sentences, classes="verdicts")


def direction(difference: PairedDifference | None) -> str:
    """What an interval shows: "better", "worse", or "open" when it shows neither."""
    if difference is None or difference.low is None or difference.high is None:
        return "open"
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "open"


def _alone(stand: Standing, metric: str) -> str:
    if stand.accuracy is None:
        return f"{stand.variant}: no run has finished, so there is no test {metric} yet"
    return f"{stand.variant}: {spread(stand.accuracy)} test {metric} (n = {stand.accuracy.n})"


def _notes(warnings: Sequence[str]) -> Html:
    if not warnings:
        return Html("")
    items = [tag("li", warning) for warning in warnings]
    return tag("aside", tag("h2", "Read with care"), tag("ul", *items))


def _accuracy(comparison: Comparison, stands: Sequence[Standing]) -> Html:
    source = provenance(*_having(comparison, lambda run: run.test_accuracy is not None))
    caption = "Against the same seed of the baseline. Bar: 95 % t-interval; dots: single seeds."
    several = sum(stand.difference is not None for stand in stands) > 1
    caption += " Each interval stands for itself, uncorrected for several variants." * several
    return join(
        (
            tables.variants_table(comparison, stands),
            _pair(
                plot(
                    interval_figure(comparison, stands),
                    f"Difference to {comparison.baseline}",
                    caption,
                    source,
                ),
                plot(
                    accuracy_figure(comparison),
                    f"Test {comparison.metric} of each seed",
                    "A dot is one finished run, the bar is the mean.",
                    source,
                ),
            ),
            _scope(stands),
        )
    )


def _scope(stands: Sequence[Standing]) -> Html:
    if all(stand.difference is None or stand.difference.low is None for stand in stands):
        return Html("")
    told = (
        "Intervals cover the variation between seeds (initial weights, order of images, "
        "augmentation) on one fixed test set, not the choice of test images."
    )
    return tag("p", told, classes="quiet")


def _learning(comparison: Comparison) -> Html:
    source = provenance(*comparison.variants.values(), split=splits(comparison.runs))
    title = f"{SECTIONS['accuracy'] if comparison.metric == 'accuracy' else comparison.metric} over epochs"
    told = "Thick: mean of the finished runs; thin: seeds; dashed: training, mean."
    left_out = " No training loss where an objective is added to it: the two are not comparable."
    if not with_objective(comparison.runs):
        left_out = ""
    return _pair(
        plot(curve_figure(comparison, headline(comparison.metric)), title, told, source),
        plot(curve_figure(comparison, LOSS), "Loss over epochs", told + left_out, source),
    )


def _information(comparison: Comparison) -> Html:
    figure = bound_figure(comparison)
    if figure is None:
        return tag("p", "No run here was trained with an objective that reports an MI bound.")
    told = (
        "Lower bound on the mutual information of the pairs that the objective contrasts, averaged "
        "over training batches and, with the objective's own weights, over layers. "
        "It cannot pass its ceiling (dashed), set by the number of negatives; below zero it says "
        "nothing. A dotted line with hollow marks is a score and no bound."
    )
    layers = [
        plot(
            bound_layers_figure(runs),
            f"Each layer of {name}" + ("" if is_bound(runs) else f": {SCORE}"),
            "Mean over seeds, from the first layer (dark) to the last (light). "
            "Click a name to hide its line, twice to see it alone.",
            provenance(runs, split="training"),
        )
        for name, runs in comparison.variants.items()
    ]
    measured = _measured(comparison, "bound")
    valid = any(is_bound(runs) for runs in measured if runs)
    title = "Mutual information bound over epochs" if valid else "Contrastive score, no MI bound"
    return _pair(plot(figure, title, told, provenance(*measured, split="training")), *layers)


def _signs(comparison: Comparison) -> Html:
    flips, codes = curve_figure(comparison, FLIPS), curve_figure(comparison, ENTROPY)
    if flips is None and codes is None:
        return tag("p", "No run here has binary layers.")
    flip_source = provenance(*_measured(comparison, "flip_rate"), split=None)
    code_source = provenance(*_measured(comparison, "code_entropy"), split=splits(comparison.runs))
    totals = _pair(
        plot(
            flips,
            "Signs flipped",
            "Share of the binary weights whose sign at the end of an epoch is not the one before.",
            flip_source,
        ),
        plot(
            codes,
            "Entropy of the codes",
            "Entropy of one activation's sign, mean over channels: 1 bit when + and - are equally "
            "frequent, 0 when the sign never changes.",
            code_source,
        ),
    )
    flip, code = flip_maps(comparison), entropy_maps(comparison)
    maps = [
        plot(figures.get(name), f"{title} {name}, by layer", told, provenance(runs, split=None))
        for name, runs in comparison.variants.items()
        for title, figures, told in (
            ("Signs flipped in", flip, "Mean over seeds, logarithmic color."),
            ("Entropy of the codes of", code, "Mean over seeds, in bits."),
        )
    ]
    return join((totals, _pair(*maps)))


def _layers(comparison: Comparison) -> Html:
    told = (
        "Latent: what training keeps, 4 bytes per weight. Packed: what is shipped, one bit for "
        "every binary weight and its scales."
    )
    parts = (tables.sizes_table(comparison), tables.layer_tables(comparison))
    return join((tag("p", told, classes="quiet"), *parts))


def splits(runs: Sequence[Run]) -> str:
    """The splits the runs were evaluated on after each epoch: "test", or "test and validation"."""
    found = {str(row["eval_split"]) for run in runs for row in run.metrics if "eval_split" in row}
    return " and ".join(sorted(found)) or "unknown"


def _measured(comparison: Comparison, field: str) -> list[list[Run]]:
    return _having(comparison, lambda run: any(row.get(field) is not None for row in run.metrics))


def _having(comparison: Comparison, wanted: Callable[[Run], bool]) -> list[list[Run]]:
    return [[run for run in runs if wanted(run)] for runs in comparison.variants.values()]


def _pair(*plots: Html) -> Html:
    shown = [one for one in plots if one]
    return tag("div", *shown, classes="pair") if shown else Html("")
