"""The findings as tables for documentation pages, from the summary's CSV; needs no torch."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from bitlens.errors import BitlensError, unknown
from bitlens.report.quantities import ABSENT, plural, signed
from bitlens.studies.dense.metrics import HEADLINES, METRICS, TASK_TITLES

NOTHING = "No runs of dense prediction are published yet.\n"
CONSTANT = "constant"
FORMS = ("full", "costs", "short", "setting")

Row = dict[str, str]


def dense_tables(path: Path, form: str, *about: str) -> str:
    """One of the forms: `full TASK`, `costs`, `short`, or `setting`.

    Args:
        path: the summary's CSV, or for `setting` the runs'; where it has not been written, a sentence
            says so.
        form: full (all metrics of a task), costs (bytes and time), short (headline metrics of all tasks),
            setting (what the runs were trained on and with).
        about: the task of `full`.

    Raises:
        BitlensError: no such form or task.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    if (form == "full") != (len(about) == 1):
        raise BitlensError(
            f"dense: form {form} with {len(about)} words; only full takes one, a task"
        )
    if form == "full" and about[0] not in TASK_TITLES:
        raise unknown("task", about[0], TASK_TITLES)
    if not path.exists():
        return NOTHING if form != "setting" else ""
    rows = read(path)
    if form == "setting":
        return setting(rows)
    source = f"\n`{path.parent.name}/{path.name}`\n"
    if form == "costs":
        return cost_table(rows) + source
    if form == "short":
        return short_table(rows) + source
    own = [row for row in rows if row["task"] == about[0]]
    if not own:
        return f"No runs of the task {about[0]} are published yet.\n"
    return full_table(own) + source


def read(path: Path) -> list[Row]:
    """The rows of the summary."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def setting(runs: Sequence[Row]) -> str:
    """What all runs of a task share, a line each."""
    lines = []
    for task in dict.fromkeys(row["task"] for row in runs):
        own = [row for row in runs if row["task"] == task]

        def told(column: str, own: Sequence[Row] = own) -> str:
            return ", ".join(dict.fromkeys(row[column] for row in own if row[column]))

        side = told("image_size")
        lines.append(
            f"{task}: {told('data')}, {told('model')}, "
            + (f"shorter side {side} pixels, " if side != "0" else "")
            + f"{plural(int(own[0]['epochs']), 'epoch')} of {told('train_images')} scenes, judged on "
            f"{told('test_images')}; {told('threads')} thread of {told('cpu')}, device {told('device')}, "
            f"torch {told('torch')}, bitlens at {told('commit') or 'an unknown commit'}"
        )
    return "\n\n".join(lines) + "\n"


def full_table(rows: Sequence[Row]) -> str:
    """Every metric of one task, mean ± sd over seeds, then what the seeds say of the headline metrics."""
    metrics = [name for name in METRICS if any(row["metric"] == name for row in rows)]
    head = ["predictor", "n", *(METRICS[name].title for name in metrics)]
    body = []
    for variant, own in _by_variant(rows).items():
        seeds = next(iter(own.values()))["n"]
        known = seeds if seeds != "0" else ABSENT
        body.append([variant, known, *(_mean(own.get(name)) for name in metrics)])
    parts = [_table(head, body)]
    for metric in metrics:
        if metric in HEADLINES:
            parts.append(_headline(rows, metric))
    return "\n".join(parts)


def cost_table(rows: Sequence[Row]) -> str:
    """Bytes and training time of every variant."""
    head = ["task", "variant", "parameters", "float32 bytes", "packed bytes"]
    head += ["float net / packed", "training time, plain = 1 (95 % CI)"]
    body = []
    for (task, variant), own in _by_task_and_variant(rows).items():
        row = next(iter(own.values()))
        if row["method"] == CONSTANT:
            continue
        smaller = f"{float(row['smaller']):.1f}x" if row["smaller"] else ABSENT
        counts = (_whole(row[key]) for key in ("parameters", "bytes_latent", "bytes_packed"))
        body.append([task, variant, *counts, smaller, _ratio(row, "time", digits=2)])
    return _table(head, body)


def short_table(rows: Sequence[Row]) -> str:
    """The headline metrics of every task: the best constant, then every variant."""
    head = ["task and metric", "best constant", "net", "n", "mean ± sd"]
    head += ["share of the float twin, % (95 % CI)", "CMIM adds, points (95 % CI)"]
    nets = [row for row in rows if row["metric"] in HEADLINES and row["method"] != CONSTANT]
    tasks = list(dict.fromkeys(row["task"] for row in nets))
    nets.sort(key=lambda row: (tasks.index(row["task"]), HEADLINES.index(row["metric"])))
    body = [
        [
            f"{row['task']}: {METRICS[row['metric']].title}",
            METRICS[row["metric"]].written(float(row["constant"])),
            row["variant"],
            row["n"],
            _mean(row),
            _ratio(row, "share", scale=100),
            _gain(row),
        ]
        for row in nets
    ]
    return _table(head, body)


def _headline(rows: Sequence[Row], metric: str) -> str:
    title = METRICS[metric].title.removesuffix(", %")
    head = [
        f"{title} of",
        "above the best constant, points",
        "share of the float twin, % (95 % CI)",
    ]
    head += ["CMIM adds, points (95 % CI)", "verdict"]
    body = [
        [
            row["variant"],
            METRICS[metric].written(float(row["above"]), signed=True),
            _ratio(row, "share", scale=100),
            _gain(row),
            row["verdict"] or ABSENT,
        ]
        for row in rows
        if row["metric"] == metric and row["method"] != CONSTANT
    ]
    return _table(head, body)


def _by_variant(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    return {variant: own for (_, variant), own in _by_task_and_variant(rows).items()}


def _by_task_and_variant(rows: Iterable[Row]) -> dict[tuple[str, str], dict[str, Row]]:
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["task"], row["variant"]), {})[row["metric"]] = row
    return found


def _mean(row: Row | None) -> str:
    if row is None:
        return ABSENT
    metric = METRICS[row["metric"]]
    spread = f" ± {metric.written(float(row['sd']))}" if row["sd"] else ""
    return metric.written(float(row["mean"])) + spread


def _ratio(row: Row, name: str, *, scale: int = 1, digits: int = 1) -> str:
    """A mean with its interval: "95.1 (93.0 .. 97.2)"."""
    mean, low, high = (row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    if not mean:
        return ABSENT
    told = f"{scale * float(mean):.{digits}f}"
    if not low:
        return f"{told} (one seed)"
    return f"{told} ({scale * float(low):.{digits}f} .. {scale * float(high):.{digits}f})"


def _gain(row: Row) -> str:
    """The paired difference to the plain variant: "+0.21 (-0.40 .. +0.82)"."""
    if not row["gain_mean"]:
        return ABSENT
    scale = METRICS[row["metric"]].scale
    told = signed(scale * float(row["gain_mean"]))
    if not row["gain_low"]:
        return f"{told} (one seed)"
    low, high = (signed(scale * float(row[f"gain_{end}"])) for end in ("low", "high"))
    return f"{told} ({low} .. {high})"


def _whole(cell: str) -> str:
    return f"{int(cell):,}" if cell else ABSENT


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
