"""The page's tables: variants, sizes, layers, recipes, runs and machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bitlens.report.markup import Html, details, join, pretty_json, table, tag
from bitlens.report.notes import differing, flat, state
from bitlens.report.quantities import (
    ABSENT,
    amount,
    duration,
    number,
    percent,
    plural,
    ratio,
    size,
    total,
)
from bitlens.report.runs import Comparison, Run
from bitlens.report.standings import Standing
from bitlens.report.terminal import difference_text, spread

DATA_FIELDS = ("train_images", "test_images", "data_note")


def variants_table(comparison: Comparison, standings: Sequence[Standing]) -> Html:
    """Accuracy and paired difference of each variant."""
    head = (
        "variant",
        "n",
        f"test {comparison.metric}",
        "difference, 95 % CI (points)",
        "time per run",
    )
    rows = [
        (
            tag("b", standing.variant),
            standing.accuracy.n if standing.accuracy else 0,
            spread(standing.accuracy),
            difference_text(standing, comparison.baseline),
            duration(standing.seconds.mean if standing.seconds else None),
        )
        for standing in standings
    ]
    return table(head, rows, numbers=range(1, 5))


def sizes_table(comparison: Comparison) -> Html:
    """Latent and packed bytes of each variant, with a bar against the largest."""
    found = [(name, _sizes(runs[0])) for name, runs in comparison.variants.items() if runs]
    largest = max((latent for _, (_, latent, _, _) in found), default=0)
    rows = [
        (
            tag("b", name),
            amount(parameters),
            size(latent),
            size(packed),
            ratio(latent, packed),
            _bar(packed, largest),
            where,
        )
        for name, (parameters, latent, packed, where) in found
    ]
    head = ("variant", "parameters", "latent", "packed", "smaller by", "packed bytes", "counted in")
    return table(head, rows, numbers=range(1, 5))


def layer_tables(comparison: Comparison) -> Html:
    """Every layer of every variant; variants with the same layers share one table."""
    groups: list[tuple[list[str], list[dict[str, Any]]]] = []
    for name, runs in comparison.variants.items():
        for names, layers in groups:
            if runs and layers == runs[0].layers:
                names.append(name)
                break
        else:
            if runs:
                groups.append(([name], runs[0].layers))
    return join(
        part
        for position, (names, layers) in enumerate(groups)
        for part in (_layers(names, layers, unfolded=position == 0),)
    )


def recipe_differences(comparison: Comparison) -> Html:
    """The recipe fields in which the variants differ, then every recipe in full."""
    recipes = {name: runs[0].recipe for name, runs in comparison.variants.items() if runs}
    keys = differing(list(recipes.values()), ignore=("seed", "name", "schema"))
    flattened = {name: flat(recipe) for name, recipe in recipes.items()}
    if len(recipes) < 2:
        told = tag("p", "One variant, so there is nothing to compare its recipe with.")
    elif not keys:
        told = tag("p", "The recipes do not differ in anything but name and seed.")
    else:
        rows = [
            (tag("code", key), *(_value(fields, key) for fields in flattened.values()))
            for key in keys
        ]
        told = table(("field", *flattened), rows)
    full = [details(f"recipe of {name}", pretty_json(recipe)) for name, recipe in recipes.items()]
    return join((told, *full))


def runs_table(comparison: Comparison) -> Html:
    """Every run, finished or not, and those that were announced and never started."""
    metric = comparison.metric
    head = ("variant", "seed", "state", f"test {metric}", f"last epoch's {metric}", "bound (nats)")
    rows, classes = [], []
    for name, runs in comparison.variants.items():
        for run in runs:
            rows.append((name, run.seed, state(run), percent(run.test_accuracy), *_last(run)))
            classes.append("" if run.complete else "unfinished")
        for folder in comparison.absent[name]:
            rows.append((name, ABSENT, "not started", *[ABSENT] * 5, folder))
            classes.append("unfinished")
    head += ("time", "ms per step", "folder")
    return table(head, rows, numbers=(1, 3, 4, 5, 6, 7), row_classes=classes)


def data_table(runs: Sequence[Run]) -> Html:
    """The data of the runs: names, counts of images and remarks, each combination once."""
    rows = dict.fromkeys(
        (
            run.recipe["data"],
            *(str((run.summary or {}).get(key) or ABSENT) for key in DATA_FIELDS),
        )
        for run in runs
    )
    return table(("data", "training images", "test images", "remark"), rows, numbers=(1, 2))


def environment_table(runs: Sequence[Run]) -> Html:
    """Versions and machines; where the runs differ, every value with its count."""
    keys = dict.fromkeys(key for run in runs for key in run.env)
    return table(("", "value"), [(key, _values(key, runs)) for key in keys])


def _sizes(run: Run) -> tuple[float | None, int, int, str]:
    if run.summary is not None and run.summary.get("bytes_latent") is not None:
        packed = run.summary.get("bytes_packed") or 0
        return run.summary.get("parameters"), run.summary["bytes_latent"], packed, "whole net"
    latent = sum(layer["bytes_latent"] for layer in run.layers)
    return None, latent, sum(layer["bytes_packed"] for layer in run.layers), "listed layers only"


def _bar(value: float, largest: float) -> Html:
    share = 100 * value / largest if largest else 0
    return Html(f'<span class="bar"><i style="width:{share:.2f}%"></i></span>')


def _layers(names: Sequence[str], layers: Sequence[dict[str, Any]], *, unfolded: bool) -> Html:
    binary = sum(layer["bits"] == 1 for layer in layers)
    latent = sum(layer["bytes_latent"] for layer in layers)
    packed = sum(layer["bytes_packed"] for layer in layers)
    macs = total(layer.get("macs") for layer in layers)
    content = table(
        ("layer", "kind", "shape", "bits", "why", "MACs", "latent", "packed", "smaller by"),
        [_layer(layer) for layer in layers],
        numbers=(5, 6, 7, 8),
        row_classes=["binary" if layer["bits"] == 1 else "" for layer in layers],
        foot=(
            "total",
            "",
            "",
            "",
            "",
            amount(macs),
            size(latent),
            size(packed),
            ratio(latent, packed),
        ),
    )
    title = f"{', '.join(names)}: {binary} of {plural(len(layers), 'layer')} in 1 bit"
    folded = details(title, content)
    return Html(folded.replace("<details>", "<details open>", 1)) if unfolded else folded


def _layer(layer: dict[str, Any]) -> tuple[object, ...]:
    one_bit = layer["bits"] == 1
    badge = tag(
        "span", "1-bit" if one_bit else "float", classes="badge one" if one_bit else "badge"
    )
    return (
        tag("code", layer["name"]),
        layer["kind"],
        "x".join(str(length) for length in layer.get("shape", ())),
        badge,
        layer["why"],
        amount(layer.get("macs")),
        size(layer["bytes_latent"]),
        size(layer["bytes_packed"]),
        ratio(layer["bytes_latent"], layer["bytes_packed"]),
    )


def _value(fields: dict[str, Any], key: str) -> object:
    return tag("span", "not set", classes="quiet") if key not in fields else str(fields[key])


def _last(run: Run) -> tuple[str, ...]:
    row = run.metrics[-1] if run.metrics else {}
    accuracy = percent(row.get("eval_accuracy"))
    if row.get("eval_split"):
        accuracy += f" ({row['eval_split']})"
    step = run.measured("step_ms")
    folder = "/".join(run.path.parts[-2:])
    bound = number(row.get("bound"))
    return accuracy, bound, duration(run.seconds), number(step, 1), folder


def _values(key: str, runs: Sequence[Run]) -> str:
    values = [str(run.env[key]) for run in runs if key in run.env]
    if key == "started":
        return " to ".join(dict.fromkeys((min(values), max(values))))
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    if len(counts) == 1:
        return values[0]
    return ", ".join(f"{value} ({plural(count, 'run')})" for value, count in counts.items())
