"""The study on one page: tables, what the seeds allow to say, pictures. No scripts."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bitlens.report.markup import Html, join, section, table, tag
from bitlens.report.quantities import ABSENT, size
from bitlens.studies.dense.findings import CONSTANT, Finding, Interval
from bitlens.studies.dense.metrics import HEADLINES, METRICS, TASK_TITLES
from bitlens.studies.frame import framed

STYLE = """
figure { margin: 0 0 36px; overflow-x: auto; }
figure svg, figure img { border-radius: 8px; }
figure img { max-width: 100%; min-width: 720px; height: auto; }
.lead { max-width: 75ch; }
"""
TITLE = "Dense prediction"
ASKED = (
    "A class or a depth for every pixel, from nets of 1-bit weights and activations, trained with and "
    "without CMIM, beside the same net in float and beside predictors that look at no image."
)
READING = (
    "Metrics are taken on the whole test split, over all known pixels inside the judged part, at the size "
    "in which the truth is stored. ± is the sample standard deviation over seeds.",
    "A constant says one class, or one depth, for every pixel. Its value is fitted to the train split; "
    "the best constant of each metric is the bar that a net has to be above.",
    "Shares of the float twin and what CMIM adds are paired by seed, with Student's t-interval of the "
    "differences (95 %). It covers the variation between seeds, not the choice of test images.",
    "Claims are made about mIoU and δ < 1.25 alone; the other metrics are not independent of them, and "
    "with so many intervals some exclude zero by chance.",
    "Packed bytes count one bit a binary weight and 32 for every other number; a written file is smaller "
    "still, for its other layers are in 8 bits.",
    "Times are wall-clock of runs on one machine, which others may have used meanwhile.",
)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A picture of the page: PNG bytes, its name as a file, a title and what it shows."""

    name: str
    title: str
    caption: str
    png: bytes


def compose(
    findings: Sequence[Finding],
    sheets: Iterable[Sheet],
    chart: str,
    *,
    measured: Sequence[str],
    claims: Sequence[str],
    left_out: Sequence[str],
) -> str:
    """The whole page as text.

    Args:
        findings: of all comparisons.
        sheets: pictures of predictions.
        chart: the headline metrics as SVG.
        measured: what the numbers stand on, sentences.
        claims: what may be said of CMIM, sentences.
        left_out: what has not finished, sentences.
    """
    header = tag(
        "header",
        tag("p", "bitlens study", classes="mark"),
        tag("h1", TITLE),
        *(tag("p", sentence, classes="quiet") for sentence in measured),
        tag("p", ASKED, classes="lead"),
    )
    parts = [header]
    if claims:
        parts.append(section("claims", "Does CMIM help?", _listed(claims)))
    parts.append(
        section("headlines", "Headline metrics", tag("figure", Html(chart)), _main(findings))
    )
    for task in dict.fromkeys(one.task for one in findings):
        own = [one for one in findings if one.task == task]
        parts.append(section(task, f"{TASK_TITLES[task]}: all metrics", _all(own)))
    parts += [
        section("costs", "Bytes and training time", _costs(findings)),
        section("pictures", "Predictions", *(_figure(sheet) for sheet in sheets)),
        section("reading", "How to read this", _listed(READING)),
    ]
    if left_out:
        parts.append(section("left-out", "What is left out", _listed(left_out)))
    return framed(TITLE, STYLE, join(parts))


def headlines(findings: Sequence[Finding]) -> list[Finding]:
    """What nets reach in the headline metrics, task by task, metric by metric."""
    nets = [one for one in findings if one.metric in HEADLINES and one.method != CONSTANT]
    tasks = list(dict.fromkeys(one.task for one in nets))
    return sorted(nets, key=lambda one: (tasks.index(one.task), HEADLINES.index(one.metric)))


def _main(findings: Sequence[Finding]) -> Html:
    head = ("task", "metric", "net", "n", "mean ± sd", "best constant", "above it")
    head += ("share of the float twin, %", "CMIM adds", "verdict")
    rows = []
    for one in headlines(findings):
        metric = METRICS[one.metric]
        rows.append(
            (
                *(one.task, metric.title, one.variant, one.n, _mean(one)),
                metric.written(one.constant),
                metric.written(one.above, signed=True),
                _interval(one.share, 100, 1),
                _interval(one.gain, metric.scale, metric.digits, signed=True),
                one.verdict or ABSENT,
            )
        )
    return table(head, rows, numbers=range(3, 9))


def _all(findings: Sequence[Finding]) -> Html:
    names = [name for name in METRICS if any(one.metric == name for one in findings)]
    by_variant: dict[str, dict[str, Finding]] = {}
    for one in findings:
        by_variant.setdefault(one.variant, {})[one.metric] = one
    rows = [
        (
            variant,
            next(iter(own.values())).n or ABSENT,
            *(_mean(own[name]) if name in own else ABSENT for name in names),
        )
        for variant, own in by_variant.items()
    ]
    head = ("predictor", "n", *(METRICS[name].title for name in names))
    return table(head, rows, numbers=range(1, len(head)))


def _costs(findings: Sequence[Finding]) -> Html:
    first: dict[tuple[str, str], Finding] = {}
    for one in findings:
        if one.method != CONSTANT:
            first.setdefault((one.task, one.variant), one)
    rows = [
        (
            *(task, variant, f"{one.parameters:,}" if one.parameters else ABSENT),
            *(size(one.bytes_latent), size(one.bytes_packed)),
            ABSENT if one.smaller is None else f"{one.smaller:.1f}x",
            _interval(one.time, 1, 2),
        )
        for (task, variant), one in first.items()
    ]
    head = ("task", "variant", "parameters", "in float32", "packed", "float net / packed")
    return table((*head, "training time, plain = 1"), rows, numbers=range(2, 7))


def _mean(one: Finding) -> str:
    metric = METRICS[one.metric]
    return metric.written(one.mean) + ("" if one.sd is None else f" ± {metric.written(one.sd)}")


def _interval(found: Interval, scale: int, digits: int, *, signed: bool = False) -> str:
    if found.mean is None:
        return ABSENT
    form = f"{'+' if signed else ''}.{digits}f"
    told = f"{scale * found.mean:{form}}"
    if found.low is None or found.high is None:
        return f"{told} (one seed)"
    return f"{told} ({scale * found.low:{form}} .. {scale * found.high:{form}})"


def _figure(sheet: Sheet) -> Html:
    image = base64.b64encode(sheet.png).decode()
    return tag(
        "figure",
        tag("h3", sheet.title),
        Html(f'<img alt="{sheet.name}" src="data:image/png;base64,{image}">'),
        tag("figcaption", sheet.caption),
    )


def _listed(sentences: Iterable[str]) -> Html:
    return tag("ul", *(tag("li", sentence) for sentence in sentences))
