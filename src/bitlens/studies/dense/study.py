"""Read finished comparisons of dense tasks, judge constants beside them, write tables, page and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bitlens.data import load_scenes
from bitlens.data.dense.scenes import SceneData
from bitlens.models import FLOAT
from bitlens.report.quantities import plural
from bitlens.studies.dense import summary_rows
from bitlens.studies.dense.chart import PLAIN, REAL, WITH_CMIM, Strip, chart
from bitlens.studies.dense.comparisons import DenseComparison, Variant, read_dense
from bitlens.studies.dense.findings import CONSTANT, Constants, Finding, findings, values, verdicts
from bitlens.studies.dense.metrics import HEADLINES, TASK_TITLES
from bitlens.studies.dense.page import Sheet, compose
from bitlens.studies.dense.predictions import answers, spaced, take_scenes
from bitlens.studies.dense.rows import COLUMNS, run_rows
from bitlens.studies.dense.sheets import Shown, depth_sheet, segmentation_sheet
from bitlens.tasks.constants import evaluate_constants
from bitlens.tasks.crop import crop_window
from bitlens.training.build import heads_of
from bitlens.training.files import write_bytes, write_rows
from bitlens.training.run import RunFolder

RUNS, SUMMARY = "runs.csv", "summary.csv"
SCENES = 6

Tell = Callable[[str], None]
"""Called with what is done next."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was found and where it was written."""

    findings: tuple[Finding, ...]
    claims: tuple[str, ...]
    left_out: tuple[str, ...]
    runs: Path
    summary: Path
    page: Path
    sheets: tuple[Path, ...]


def run_study(
    folders: Sequence[Path],
    out: Path,
    *,
    scenes: int = SCENES,
    device: str = "cpu",
    tell: Tell = lambda what: None,
) -> Outcome:
    """Judge and show; nothing is trained, and the comparisons are only read.

    Args:
        folders: of finished comparisons of dense tasks, each with a float variant.
        out: folder of the study: runs.csv, summary.csv, index.html, figures.
        scenes: test scenes on the pictures, evenly spaced.
        device: where the nets run.
        tell: progress.

    Raises:
        BitlensError: bad folders or data, or another process works in `out`.
    """
    comparisons = read_dense(folders)
    spaced(1, scenes)
    found: list[Finding] = []
    sheets: list[Sheet] = []
    measured: list[str] = []
    with RunFolder(out).locked():
        for comparison in comparisons:
            recipe = comparison.recipe
            tell(f"{comparison.folder}: {recipe.data}, constants")
            data = load_scenes(recipe.data, image_size=recipe.image_size or None)
            found += findings(comparison, _constants(comparison, data))
            tell(f"{comparison.folder}: pictures")
            sheets += draw(comparison, data, scenes, torch.device(device))
            measured.append(_measured(comparison, data))
        claims = [sentence for one in comparisons for sentence in verdicts(one)]
        left_out = [sentence for one in comparisons for sentence in one.left_out]
        write_rows(out / RUNS, COLUMNS, run_rows(comparisons))
        write_rows(out / SUMMARY, summary_rows.COLUMNS, summary_rows.summary_rows(found))
        picture = chart([strip for one in comparisons for strip in _strips(one, found)])
        written = _write_pictures(out / "figures", sheets, picture)
        text = compose(found, sheets, picture, measured=measured, claims=claims, left_out=left_out)
        write_bytes(out / "index.html", text.encode())
    return Outcome(
        findings=tuple(found),
        claims=tuple(claims),
        left_out=tuple(left_out),
        runs=out / RUNS,
        summary=out / SUMMARY,
        page=out / "index.html",
        sheets=written,
    )


def draw(
    comparison: DenseComparison, data: SceneData, scenes: int, device: torch.device
) -> list[Sheet]:
    """The sheets of one comparison: classes, depths, or both."""
    shown = _shown_variants(comparison)
    common = set.intersection(*(set(variant.nets) for _, variant in shown))
    places = spaced(len(data.test), scenes)
    nets = []
    for title, variant in shown:
        seed = min(common or variant.nets)
        nets.append((title, answers(variant.nets[seed], data, places, device)))
    named = ", ".join(
        f"{title} is {variant.name}, seed {min(common or variant.nets)}" for title, variant in shown
    )
    heads = heads_of(comparison.recipe, data)
    taken, made = take_scenes(data, places), []
    for head, sheet in (("segment", segmentation_sheet), ("depth", depth_sheet)):
        if head not in heads:
            continue
        title = TASK_TITLES[comparison.task]
        image = sheet(
            Shown(
                title=f"{title}, {data.name}",
                scenes=taken,
                nets=nets,
                classes=data.classes,
                crop=data.crop,
            )
        )
        content = io.BytesIO()
        image.save(content, format="PNG", optimize=True)
        what = "classes" if head == "segment" else "depth"
        name = f"{comparison.task}_{what}" if len(heads) > 1 else comparison.task
        made.append(
            Sheet(
                name=name,
                title=f"{title}: {what}",
                caption=f"{plural(len(taken), 'test scene')}, evenly spaced; {named}.",
                png=content.getvalue(),
            )
        )
    return made


def _shown_variants(comparison: DenseComparison) -> list[tuple[str, Variant]]:
    """The float net, the first plain binary one, and the first that adds CMIM to it."""
    chosen = [("float", comparison.real)]
    plain = next((own for own in comparison.binary if not own.contrasts), None)
    if plain is not None:
        chosen.append(("binary", plain))
    with_cmim = [own for own in comparison.binary if own.contrasts]
    paired = [own for own in with_cmim if plain is not None and own.plain == plain.name]
    chosen += [("binary + CMIM", own) for own in (paired or with_cmim)[:1]]
    return chosen


def _constants(comparison: DenseComparison, data: SceneData) -> Constants:
    return evaluate_constants(data, heads_of(comparison.recipe, data))


def _measured(comparison: DenseComparison, data: SceneData) -> str:
    recipe, real = comparison.recipe, comparison.real
    images = (real.nets[min(real.nets)].run.summary or {})["train_images"]
    height, width = data.test.image_size
    truth = "x".join(map(str, data.test.truth_size))
    crop = "" if data.crop is None else _window(data)
    note = f" {data.note[:1].upper()}{data.note[1:]}." if data.note else ""
    return (
        f"{TASK_TITLES[comparison.task]}: {recipe.data}, {recipe.model} at {height}x{width} pixels, "
        f"{plural(recipe.epochs, 'epoch')} of {images:,} scenes; judged on {len(data.test):,} test scenes "
        f"at {truth}{crop}.{note}"
    )


def _window(data: SceneData) -> str:
    rows, columns = crop_window(data.crop, data.test.truth_size)
    return f", rows {rows.start}:{rows.stop} and columns {columns.start}:{columns.stop}"


def _strips(comparison: DenseComparison, found: Sequence[Finding]) -> list[Strip]:
    best: Mapping[str, float] = {
        one.metric: one.constant
        for one in found
        if one.method == CONSTANT and one.task == comparison.task
    }

    def color(variant: Variant) -> str:
        if variant.recipe.method == FLOAT:
            return REAL
        return WITH_CMIM if variant.contrasts else PLAIN

    return [
        Strip(
            task=comparison.task,
            metric=metric,
            constant=best[metric],
            rows=[
                (variant.name, color(variant), list(values(variant, metric).values()))
                for variant in comparison.variants
            ],
        )
        for metric in HEADLINES
        if metric in best
    ]


def _write_pictures(folder: Path, sheets: Sequence[Sheet], picture: str) -> tuple[Path, ...]:
    folder.mkdir(exist_ok=True)
    write_bytes(folder / "headlines.svg", picture.encode())
    paths = []
    for sheet in sheets:
        paths.append(folder / f"{sheet.name}.png")
        write_bytes(paths[-1], sheet.png)
    return tuple(paths)
