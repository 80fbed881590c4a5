"""Judge the nets of finished comparisons: measure what is missing, then score, draw and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bitlens.studies.bibench.costs import read_cost_ratios
from bitlens.studies.bibench.evaluate import (
    Tell,
    View,
    complexities,
    count_missing,
    measure,
    take_view,
)
from bitlens.studies.bibench.evidence import Evidence
from bitlens.studies.bibench.outcome import Outcome, write_outcome
from bitlens.studies.bibench.rows import Rows
from bitlens.studies.bibench.twins import Trained, find_pairs
from bitlens.training.run import RunFolder

IMAGES = 2000


@dataclass(frozen=True, kw_only=True)
class Options:
    """How nets are judged.

    Attributes:
        images: test images that are corrupted, evenly spaced; all when there are fewer.
        draw: seed of the corruptions.
        device: where the nets run.
    """

    images: int = IMAGES
    draw: int = 0
    device: str = "cpu"


def silent(done: int, total: int, what: str) -> None:
    """No progress at all."""


def run_study(
    folders: Sequence[Path], out: Path, options: Options | None = None, tell: Tell = silent
) -> Outcome:
    """Judge every finished binary run of `folders` against its float twin; interrupt and repeat at will.

    Args:
        folders: of finished comparisons, each with a float variant; read, never written.
        out: folder of the study: bibench.csv, scores.csv, index.html, scores.md, figures.
        options: how nets are judged.
        tell: progress, called before each measurement.

    Raises:
        BitlensError: bad folders or files, or another process works in `out`.
    """
    options = options or Options()
    entries = find_pairs(folders)
    costs = {
        (folder, method): cost
        for folder in {pair.binary.folder for pair in entries.pairs}
        for method, cost in read_cost_ratios(folder).items()
    }
    device = torch.device(options.device)
    tasks: dict[tuple[str, int], list[Trained]] = {}
    for net in entries.nets:
        tasks.setdefault((net.recipe.data, net.recipe.image_size), []).append(net)
    with RunFolder(out).locked():
        rows = Rows(out)
        views = {task: take_view(*task, options.images, options.draw, device) for task in tasks}
        _measure(tasks, views, rows, device, tell)
        evidence = Evidence(
            pairs=entries.pairs,
            accuracy=lambda net, corruption, severity: (
                rows.by_key[
                    views[net.recipe.data, net.recipe.image_size].key(net, corruption, severity)
                ].accuracy
            ),
            images={task: len(view.images) for task, view in views.items()},
            complexity={
                digest: found
                for task, nets in tasks.items()
                for digest, found in complexities(nets, views[task]).items()
            },
            costs=costs,
        )
        sample = next(iter(views.values()))
        return write_outcome(out, evidence, entries.left_out, sample.images[0], options.draw)


def _measure(
    tasks: dict[tuple[str, int], list[Trained]],
    views: dict[tuple[str, int], View],
    rows: Rows,
    device: torch.device,
    tell: Tell,
) -> None:
    total = sum(count_missing(nets, views[task], rows) for task, nets in tasks.items())
    done = 0

    def one(what: str) -> None:
        nonlocal done
        tell(done, total, what)
        done += 1

    for task, nets in tasks.items():
        measure(nets, views[task], rows, device, one)
    if total:
        tell(total, total, "scores")
