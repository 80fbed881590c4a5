"""The study on one page: pictures, scores, what was left out. No scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bitlens.report.markup import Html, join, section, table, tag
from bitlens.studies.bibench.figures.picture import Picture
from bitlens.studies.bibench.score_names import SCORES
from bitlens.studies.bibench.scores import Score
from bitlens.studies.frame import framed

STYLE = """
figure { margin: 0 0 36px; overflow-x: auto; }
figure svg { border-radius: 8px; }
.lead { max-width: 75ch; }
"""
TITLE = "BiBench's view"
ASKED = (
    "BiBench (Qin et al., ICML 2023) judges ways of binarizing by more than accuracy on one task: over data "
    "sets, nets, corrupted images, training cost, complexity and hardware. Every score is a ratio to the "
    "float twin, trained from the same seed, joined by quadratic means; 1 is the float net, more is better."
)
READING = (
    "Accuracy ratios weigh a large value more than a small one, as quadratic means do; for ratios this close "
    "to each other that differs little from the plain mean.",
    "The corruptions carry the names of the usual fifteen; their formulas and strengths are ours. The "
    "accuracies cannot be compared with those on CIFAR-10-C.",
    "OM_corr compares accuracies under corruption as they are. OM_corr_clean asks what share of its clean "
    "accuracy a net keeps, compared with the float net's share. The paper's wording allows both.",
    "± is the sample standard deviation over seeds. A score without ± was measured once, or does not depend "
    "on the seed.",
)


def compose(
    scores: Sequence[Score],
    pictures: Iterable[Picture],
    *,
    measured: Sequence[str],
    left_out: Sequence[str],
) -> str:
    """The whole page as text.

    Args:
        scores: of every variant.
        pictures: from top to bottom.
        measured: what the numbers stand on, sentences.
        left_out: what has no number and why, sentences.
    """
    header = tag(
        "header",
        tag("p", "bitlens study", classes="mark"),
        tag("h1", TITLE),
        *(tag("p", sentence, classes="quiet") for sentence in measured),
        tag("p", ASKED, classes="lead"),
    )
    parts = [
        header,
        section("pictures", "Figures", *(_figure(picture) for picture in pictures)),
        section("scores", "Scores", _table(scores), _key(scores)),
        section("reading", "How to read this", _listed(READING)),
    ]
    if left_out:
        parts.append(section("left-out", "What is left out", _listed(left_out)))
    return framed(TITLE, STYLE, join(parts))


def by_variant(scores: Iterable[Score]) -> dict[str, dict[str, Score]]:
    """Variant -> name of the score -> score, in the order of the scores."""
    found: dict[str, dict[str, Score]] = {}
    for one in scores:
        found.setdefault(one.variant, {})[one.score] = one
    return found


def _table(scores: Sequence[Score]) -> Html:
    found: Mapping[str, Mapping[str, Score]] = by_variant(scores)
    names = [name for name in SCORES if any(name in own for own in found.values())]
    rows = [
        (
            variant,
            max((one.n for one in own.values()), default=0),
            *(_told(own.get(name)) for name in names),
        )
        for variant, own in found.items()
    ]
    return table(("variant", "seeds", *names), rows, numbers=range(1, len(names) + 2))


def _told(one: Score | None) -> str:
    if one is None:
        return "-"
    return f"{one.mean:.3f}" + ("" if one.sd is None else f" ± {one.sd:.3f}")


def _key(scores: Sequence[Score]) -> Html:
    over: dict[str, dict[str, None]] = {}
    for one in scores:
        over.setdefault(one.score, {}).setdefault(one.over)
    rows = [(name, *SCORES[name], "; ".join(over[name])) for name in SCORES if name in over]
    return table(("score", "track", "what it is", "measured on"), rows)


def _figure(picture: Picture) -> Html:
    words = tag("figcaption", picture.caption)
    return tag("figure", tag("h3", picture.title), Html(picture.svg), words)


def _listed(sentences: Iterable[str]) -> Html:
    return tag("ul", *(tag("li", sentence) for sentence in sentences))
