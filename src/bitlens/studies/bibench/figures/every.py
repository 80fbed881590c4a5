"""All pictures of the study, in the order of its page."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bitlens.data.corruptions.table import CORRUPTIONS
from bitlens.studies.bibench import tracks
from bitlens.studies.bibench.evidence import Evidence, corruption_ratios
from bitlens.studies.bibench.figures.effect import draw_effect
from bitlens.studies.bibench.figures.picture import Picture
from bitlens.studies.bibench.figures.sheet import draw_sheet
from bitlens.studies.bibench.figures.standings import draw_standings
from bitlens.studies.bibench.scores import Score

EFFECTS = (
    ("corruption", False, "Accuracy under corruption, binary / float"),
    ("corruption_clean", True, "Accuracy under corruption relative to clean, binary / float"),
)


def draw_all(
    evidence: Evidence, scores: Sequence[Score], sample: Tensor, draw: int
) -> list[Picture]:
    """Scores, effect of every corruption on every variant, and the corruptions themselves.

    Args:
        evidence: all that was measured.
        scores: made of it.
        sample: uint8 (c, h, w), the image to corrupt; shown when it is grey or color.
        draw: seed of the corruptions.
    """
    found = [
        Picture(
            name="scores",
            title="Scores",
            svg=draw_standings(scores),
            caption="A panel a score; the dashed line is the float net. Bars: standard deviation over seeds.",
        )
    ]
    found += [
        Picture(
            name=name,
            title=f"G_c: {words[0].lower()}{words[1:]}",
            svg=draw_effect(mean_ratios(evidence, clean=clean), words),
            caption="Mean over seeds, data sets and nets, of accuracies averaged over five severities.",
        )
        for name, clean, words in EFFECTS
    ]
    if len(sample) in (1, 3):
        sheet = Picture(
            name="corruptions",
            title="The corruptions",
            svg=draw_sheet(sample, seed=draw),
            caption="One test image, clean and at severities 1 to 5.",
        )
        found.append(sheet)
    return found


def mean_ratios(evidence: Evidence, *, clean: bool) -> dict[str, dict[str, float]]:
    """Variant -> corruption -> mean of G_c over all its pairs."""
    found: dict[str, dict[str, float]] = {}
    for variant in dict.fromkeys(pair.variant for pair in evidence.pairs):
        own = [pair for pair in evidence.pairs if pair.variant == variant]
        ratios = corruption_ratios(evidence, own, clean=clean)
        found[variant] = {
            name: tracks.mean([v for (_, c), values in ratios.items() if c == name for v in values])
            for name in CORRUPTIONS
        }
    return found
