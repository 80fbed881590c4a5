"""Measure the nets: a corruption is drawn once per data set, and all nets that need it look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import bitlens
from bitlens.data import load
from bitlens.data.corruptions.table import CORRUPTIONS, SEVERITIES, VERSION, corrupt
from bitlens.data.images import ImageData
from bitlens.data.normalize import normalize
from bitlens.errors import BitlensError
from bitlens.studies.bibench.complexity import Complexity, measure_complexity
from bitlens.studies.bibench.rows import CLEAN, Key, Row, Rows
from bitlens.studies.bibench.twins import Trained
from bitlens.tasks.classify import evaluate
from bitlens.training.build import build_net, load_run_net

BATCH = 128
"""Images a net is given at once; larger batches no longer fit a core's cache and are slower."""

Tell = Callable[[int, int, str], None]
"""Called with measurements done, all that were missing, and what is being looked at."""

VERSIONS: tuple[tuple[str, int], ...] = (
    (CLEAN, 0),
    *((name, severity) for name in CORRUPTIONS for severity in SEVERITIES),
)
"""The clean images, then every corruption at every severity."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The test images that the nets of one data set are shown.

    Attributes:
        data: the set.
        images: uint8 (n, c, h, w), evenly spaced over the test split, the first one included: the
            files of a data set may be sorted by class.
        labels: int64 (n,).
        draw: seed of the corruptions.
    """

    data: ImageData
    images: Tensor
    labels: Tensor
    draw: int

    def batches(self, corruption: str, severity: int) -> list[tuple[Tensor, Tensor]]:
        """One version of the images, normalised, with labels."""
        shown = self.images
        if corruption != CLEAN:
            shown = corrupt(shown, corruption, severity, seed=self.draw)
        ready = normalize(shown, self.data.mean, self.data.std)
        return list(zip(ready.split(BATCH), self.labels.split(BATCH), strict=True))

    def key(self, net: Trained, corruption: str, severity: int) -> Key:
        """Of the row that holds this measurement."""
        return (
            *(net.digest, net.weights, corruption, severity),
            *(self.draw, len(self.images), VERSION),
        )


def take_view(data: str, image_size: int, images: int, draw: int, device: torch.device) -> View:
    """Load a data set and take `images` of its test split, or all when there are fewer.

    Raises:
        BitlensError: fewer than one image asked for, or whatever loading raises.
    """
    if images < 1:
        raise BitlensError(f"bibench: images={images}; nets are judged on at least one test image")
    loaded = load(data, image_size=image_size or None)
    total = len(loaded.test)
    count = min(images, total)
    places = torch.arange(count) * total // count
    shown, labels = next(loaded.test.subset(places).batches([torch.arange(count)]))
    return View(data=loaded, images=shown.to(device), labels=labels.to(device), draw=draw)


def measure(
    nets: Sequence[Trained],
    view: View,
    rows: Rows,
    device: torch.device,
    tell: Callable[[str], None],
) -> None:
    """Add the rows that are missing of all versions of one data set.

    Args:
        nets: trained on this data set.
        view: its test images.
        rows: the file; what it holds is not measured again.
        device: where the nets run.
        tell: called before each measurement.
    """
    loaded: dict[str, nn.Module] = {}
    for corruption, severity in VERSIONS:
        missing = {
            view.key(net, corruption, severity): net
            for net in reversed(nets)
            if view.key(net, corruption, severity) not in rows.by_key
        }
        if not missing:
            continue
        batches = view.batches(corruption, severity)
        for net in reversed(missing.values()):
            tell(f"{net.label} {corruption} {severity or ''}".rstrip())
            if net.label not in loaded:
                loaded[net.label] = load_run_net(net.run.path, view.data, device)
            found = evaluate(loaded[net.label], batches)
            rows.add(_row(net, view, corruption, severity, found))


def count_missing(nets: Sequence[Trained], view: View, rows: Rows) -> int:
    """How many rows `measure` would add."""
    keys = {view.key(net, *version) for net in nets for version in VERSIONS}
    return len(keys - rows.by_key.keys())


def complexities(nets: Iterable[Trained], view: View) -> dict[str, Complexity]:
    """Size and operations by recipe digest; nets that differ in their seed alone are counted once."""
    example = normalize(view.images[:1].cpu(), view.data.mean, view.data.std)
    counted: dict[str, Complexity] = {}
    found: dict[str, Complexity] = {}
    for net in nets:
        shape = net.recipe.with_seed(0).digest
        if shape not in counted:
            built = build_net(net.recipe, view.data, torch.device("cpu"))
            counted[shape] = measure_complexity(built, example)
        found[net.digest] = counted[shape]
    return found


def _row(
    net: Trained, view: View, corruption: str, severity: int, found: tuple[float, float]
) -> Row:
    recipe = net.recipe
    return Row(
        variant=recipe.name,
        seed=recipe.seed,
        data=recipe.data,
        image_size=view.data.image_size,
        model=recipe.model,
        method=recipe.method,
        objective=recipe.objective,
        corruption=corruption,
        severity=severity,
        accuracy=round(found[0], 6),
        loss=found[1],
        images=len(view.images),
        draw=view.draw,
        corruptions=VERSION,
        recipe_digest=net.digest,
        weights=net.weights,
        run=net.label,
        bitlens=bitlens.__version__,
        torch=torch.__version__,
    )
