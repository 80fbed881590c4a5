"""The study on one page: what was asked, what came out, every figure, every row. No scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bitlens.report.markup import Html, details, join, markup, section, table, tag
from bitlens.report.quantities import duration
from bitlens.studies.frame import framed
from bitlens.studies.information_plane.figures.evidence import Figure
from bitlens.studies.information_plane.standing import count_verdicts, tasks_of
from bitlens.studies.information_plane.tasks import TASKS
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict

TITLE = "Do binary nets fit and compress at the same time?"
STYLE = """
.count { display: block; white-space: nowrap; }
.count.holds { color: var(--good); }
.count.fails { color: var(--bad); }
.count.undecided { color: var(--care); }
.lead { max-width: 75ch; }
figure { margin: 0 0 36px; overflow-x: auto; }
figure svg { border-radius: 8px; }
details { margin: 10px 0; }
details td { font-size: 13px; vertical-align: top; }
"""
ASKED = (
    "The information plane shows, for every layer, how much its code T says about the input, I(X;T), and "
    "about the label, I(T;Y). Raj, Nayak and Kalyani (arXiv 2006.07522) report that float nets first fit "
    "(I(T;Y) rises) and then compress (I(X;T) falls), while binary nets do both at once, having less "
    "capacity. This study repeats the comparison and then changes one thing at a time: weights, "
    "activations, batch norm, the scale of the start, and how a layer is read. The claims and their "
    "marks were fixed before any run, but for C7 (now the net fall, as jitter draws down too) and the "
    "rules for leaving a row undecided; what fails is shown like what holds."
)
DEFINITIONS = (
    "F: all of the rise of I(T;Y), in bits. C: the largest fall of I(X;T) from an earlier value.",
    "O, overlap: share of fit and compression that happens at the same checkpoints. 0 apart, 1 at once.",
    "rho, coupling: rank correlation of I(X;T) and I(T;Y) until 90 % of the fit. Above 0 a layer fits while "
    "it expands, below 0 while it compresses. Noise hardly moves it, so it is the one to judge by.",
    "A path has neither O nor rho where F or C is next to nothing, or where more than a third of its "
    "points are saturated (almost every sample has a code of its own, and the plug-in counts samples).",
)
LIMITS = (
    "p-values of differences between kinds are adjusted by Holm's method within a family of rows; intervals "
    "are not adjusted.",
    "The nets are deterministic: I(X;T) is H(T), the entropy of the code as it is read. Another read-out of "
    "the same layer is another T.",
    "One bit a unit leaves out the magnitude of float activations; bins keep it and soon saturate.",
    "On the rule all inputs are enumerated and the values are exact. On the other tasks they are exact on "
    "the measured samples; the intervals and flags speak of the population.",
    "All kinds get the same number of steps, so slow surrogates are seen at an earlier moment of their "
    "training.",
    "Before each measurement batch norm is settled on the measured samples.",
    "O falls with noise and depends on how dense the checkpoints are; compare it within a task only.",
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What was done.

    Attributes:
        trials, nets, paths: how many of each.
        seconds: of all trials together, as if one after another.
        versions: of the software.
        tasks: name -> number of nets, kinds.
    """

    trials: int
    nets: int
    paths: int
    seconds: float
    versions: Mapping[str, str]
    tasks: Mapping[str, tuple[int, Sequence[str]]]


def compose(work: Work, verdicts: Sequence[Verdict], figures: Iterable[Figure]) -> str:
    """The whole page as text."""
    return framed(
        TITLE,
        STYLE,
        join(
            (
                _header(work),
                section("claims", "Claims and verdicts", _summary(verdicts)),
                section("figures", "Figures", *(_figure(figure) for figure in figures)),
                section("rows", "Every row", *_rows(verdicts)),
                section("reading", "How to read this", *_reading()),
            )
        ),
    )


def _header(work: Work) -> Html:
    links = (
        ("claims", "Verdicts"),
        ("figures", "Figures"),
        ("rows", "Every row"),
        ("reading", "How to read"),
    )
    menu = join(Html(f'<a href="#{anchor}">{markup(name)}</a>') for anchor, name in links)
    done = (
        f"{work.nets:,} nets in {work.trials:,} trials, {work.paths:,} paths, "
        f"{duration(work.seconds)} of training and measuring"
    )
    versions = ", ".join(f"{name} {version}" for name, version in work.versions.items())
    tasks = [
        (name, TASKS[name], f"{work.tasks[name][0]:,}", ", ".join(work.tasks[name][1]))
        for name in TASKS
        if name in work.tasks
    ]
    return tag(
        "header",
        tag("p", "bitlens study", classes="mark"),
        tag("h1", TITLE),
        tag("p", done + (f" ({versions})" if versions else ""), classes="quiet"),
        tag("nav", menu),
        tag("p", ASKED, classes="lead"),
        table(("task", "what it is", "nets", "kinds"), tasks, numbers=(2,)),
    )


def _summary(verdicts: Sequence[Verdict]) -> Html:
    """Claims x tasks: how many rows stand how."""
    tasks, counts = tasks_of(verdicts), count_verdicts(verdicts)
    judged = [claim for claim in STATEMENTS if any(key[0] == claim for key in counts)]
    rows = [
        (
            claim,
            STATEMENTS[claim],
            *(_count(counts.get((claim, task), Counter())) for task in tasks),
        )
        for claim in judged
    ]
    note = (
        "A row is one layer, kind and read-out, or one pair of them. Undecided: most seeds have no O and "
        "rho, or the claim does not apply. C5 also tells differences without a mark, C8 what a correlation "
        "says."
    )
    parts = [table(("claim", "statement", *tasks), rows), tag("p", note, classes="quiet")]
    left = [claim for claim in STATEMENTS if claim not in judged]
    if left:
        parts.append(
            tag("p", f"No data for {', '.join(left)} among these trials.", classes="quiet")
        )
    return join(parts)


def _count(counts: Counter[str]) -> Html:
    """One line a verdict; a claim without rows on a task has an empty cell."""
    return join(
        tag("span", f"{word} {number}", classes=f"count {word.split()[0]}")
        for word, number in counts.items()
    )


def _figure(figure: Figure) -> Html:
    if figure.svg is None:
        return tag(
            "p", tag("strong", f"{figure.title}: "), "left out. ", figure.caption, classes="quiet"
        )
    words = tag("figcaption", figure.caption, " ", tag("span", figure.source, classes="source"))
    return tag("figure", tag("h3", figure.title), Html(figure.svg), words)


def _rows(verdicts: Sequence[Verdict]) -> list[Html]:
    head = (
        "task",
        "about",
        "n",
        "statistic",
        "value",
        "95 % interval",
        "p",
        "verdict",
        "note",
    )
    parts = []
    for claim, statement in STATEMENTS.items():
        rows = [_row(verdict) for verdict in verdicts if verdict.claim == claim]
        if rows:
            summary = f"{claim}: {statement} ({len(rows)} rows)"
            parts.append(details(summary, table(head, rows, numbers=(2, 4, 5, 6))))
    return parts


def _row(verdict: Verdict) -> tuple[object, ...]:
    has_interval = verdict.low is not None and verdict.high is not None
    return (
        verdict.task,
        verdict.about,
        verdict.n,
        verdict.statistic,
        "-" if verdict.value is None else f"{verdict.value:+.3f}",
        f"{verdict.low:+.3f} to {verdict.high:+.3f}" if has_interval else "-",
        "-" if verdict.p is None else f"{verdict.p:.2g}",
        tag("span", verdict.verdict, classes=f"count {verdict.verdict.split()[0]}"),
        verdict.note,
    )


def _reading() -> list[Html]:
    def listed(sentences: Iterable[str]) -> Html:
        return tag("ul", *(tag("li", sentence) for sentence in sentences))

    return [
        tag("h3", "Words"),
        listed(DEFINITIONS),
        tag("h3", "What to keep in mind"),
        listed(LIMITS),
    ]
