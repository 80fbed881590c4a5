"""What a finished study leaves in its folder: scores.csv, scores.md, index.html and the figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from torch import Tensor

from bitlens.report.quantities import plural
from bitlens.studies.bibench.evidence import Evidence, common_seeds, task_names
from bitlens.studies.bibench.figures.every import draw_all
from bitlens.studies.bibench.markdown import markdown
from bitlens.studies.bibench.page import compose
from bitlens.studies.bibench.scores import Score, score
from bitlens.training.files import write_bytes, write_rows

CSV = "scores.csv"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The scores and the files they were written to."""

    scores: tuple[Score, ...]
    left_out: tuple[str, ...]
    table: Path
    page: Path


def write_outcome(
    folder: Path, evidence: Evidence, missing: Sequence[str], sample: Tensor, draw: int
) -> Outcome:
    """Score, draw and write.

    Args:
        folder: of the study.
        evidence: all that was measured.
        missing: runs that could not be paired, in sentences.
        sample: uint8 (c, h, w), an image to show the corruptions on.
        draw: seed of the corruptions.
    """
    scores = score(evidence)
    left_out = (*missing, *_left_out(evidence, scores))
    pictures = draw_all(evidence, scores, sample, draw)
    table, page = folder / CSV, folder / "index.html"
    (folder / "figures").mkdir(exist_ok=True)
    for picture in pictures:
        write_bytes(folder / "figures" / f"{picture.name}.svg", picture.svg.encode())
    cells = [_cells(one) for one in scores]
    write_rows(table, [f.name for f in fields(Score)], cells)
    listed = "".join(f"* {sentence}\n" for sentence in left_out)
    words = markdown(cells) + (f"\nLeft out:\n\n{listed}" if listed else "")
    write_bytes(folder / "scores.md", words.encode())
    written = compose(
        scores,
        pictures,
        measured=_measured(evidence),
        left_out=left_out,
    )
    write_bytes(page, written.encode())
    return Outcome(scores=tuple(scores), left_out=left_out, table=table, page=page)


def _cells(one: Score) -> dict[str, str]:
    return {name: _written(value) for name, value in asdict(one).items()}


def _written(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _measured(evidence: Evidence) -> list[str]:
    variants = {pair.variant for pair in evidence.pairs}
    shown = ", ".join(
        f"{name} {evidence.images[task]:,} test images"
        for task, name in task_names(evidence.images).items()
    )
    nets = ", ".join(dict.fromkeys(pair.cell.model for pair in evidence.pairs))
    return [
        f"{plural(len(evidence.pairs), 'pair')} of a binary and a float net, "
        f"{plural(len(variants), 'variant')}, {nets}; corrupted: {shown}."
    ]


def _left_out(evidence: Evidence, scores: Iterable[Score]) -> list[str]:
    """Tracks without a number, and variants whose numbers stand on less than the others'."""
    found = {one.score for one in scores}
    told = []
    if "OM_arch" not in found:
        told.append("Architecture (OM_arch): all nets are of one architecture.")
    if "std_ratio" not in found:
        told.append(
            "Sensitivity to training settings (half of OM_train): every net was trained in one setting, "
            "so OM_train is the ratio of times alone."
        )
    if "OM_hw" not in found:
        told.append("Hardware (OM_hw): no comparison holds a costs.csv with timed packed nets.")
    else:
        without = {one.variant for one in scores} - {
            one.variant for one in scores if one.score == "OM_hw"
        }
        if without:
            told.append(
                f"Hardware (OM_hw) of {', '.join(sorted(without))}: no packed net to time (a method that "
                "needs the input at run time has none)."
            )
    cells = {pair.cell for pair in evidence.pairs}
    for variant in dict.fromkeys(pair.variant for pair in evidence.pairs):
        own = [pair for pair in evidence.pairs if pair.variant == variant]
        if (here := {pair.cell for pair in own}) < cells:
            told.append(
                f"{variant} was trained under {len(here)} of {len(cells)} conditions; its scores stand on "
                "those."
            )
        seeds = {pair.seed for pair in own}
        if len(kept := common_seeds(own)) < len(seeds):
            told.append(
                f"{variant}: only the seeds that it has under all its conditions count, "
                f"{len(kept)} of {len(seeds)}."
            )
    return told
