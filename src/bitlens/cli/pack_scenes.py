"""How a packed dense net is judged before its file is written: the metrics of both nets on test scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.data.dense.scenes import SceneData
from bitlens.data.normalize import normalize
from bitlens.data.pixels import fitting
from bitlens.engine.graph import Graph
from bitlens.engine.run.session import Session
from bitlens.tasks.dense import DenseTask
from bitlens.tasks.resize import OUTPUT_STRIDE
from bitlens.training.build import heads_of
from bitlens.training.feed import Feed
from bitlens.training.packing_images import Size, filled, scaled

SCENES = 64
"""Test scenes that both nets answer, the first ones."""

AT_ONCE = 4
"""Scenes in memory at full size."""

TOLD = ("miou", "pixel_accuracy", "rmse", "abs_rel", "delta1")
"""Metrics that are told and kept, those that the net's heads have."""


@dataclass(frozen=True, kw_only=True)
class ScenesTested:
    """Metrics of both nets on the same scenes, by name; NaN where no pixel is known.

    Attributes:
        scenes: how many.
        images: height and width of their images, as the nets saw them.
        frame: height and width that the packed net takes; images smaller than that were filled up.
        torch: of the trained net.
        packed: of the file's net.
    """

    scenes: int
    images: Size
    frame: Size
    torch: dict[str, float]
    packed: dict[str, float]

    def meta(self) -> dict[str, object]:
        """What the file's header keeps."""
        kept: dict[str, object] = {"test_images": self.scenes}
        told = {f"test_{name}": value for name, value in self.packed.items()}
        told |= {f"test_{name}_torch": value for name, value in self.torch.items()}
        # JSON has no word for what is not known.
        return kept | {name: value for name, value in told.items() if math.isfinite(value)}

    def __str__(self) -> str:
        told = (
            f"{name} {_number(value)} in torch, {_number(self.packed[name])} packed"
            for name, value in self.torch.items()
        )
        size = "x".join(map(str, self.images))
        if self.images != self.frame:
            size += f" filled up to {'x'.join(map(str, self.frame))}"
        return f"test split, {self.scenes:,} scenes at {size}: {'; '.join(told)}"


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "not known"


class _Packed(nn.Module):
    """A session in the place of the net it came from."""

    def __init__(self, net: nn.Module, graph: Graph) -> None:
        super().__init__()
        self.net = net
        self.session = Session(graph, torch.get_num_threads())

    def forward(self, images: Tensor) -> Tensor:
        return self.session(images)


class _Framed(nn.Module):
    """A net of one size that is given smaller images: they are filled up, and its answer is cut."""

    def __init__(self, net: nn.Module, size: Size) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, images: Tensor) -> Tensor:
        height, width = (-(-side // OUTPUT_STRIDE) for side in images.shape[2:])
        return self.net(filled(images, self.size))[:, :, :height, :width]


def judge_scenes(
    net: nn.Module, graph: Graph, feed: Feed, told: Callable[[int, int], None]
) -> ScenesTested:
    """Both nets on test scenes, by the run's own task.

    Images are scaled until they fit into the size that the packed net takes, and filled up where their
    aspect is another. The truth keeps its own size, and no pixel that was filled up is judged.

    Args:
        net: the trained net.
        graph: what it was packed to.
        feed: of the run, its images about as large as the net's.
        told: called with the scenes answered and their number.
    """
    data = feed.data
    assert isinstance(data, SceneData)
    count = min(SCENES, len(data.test))
    height, width, _ = graph.values[graph.input].shape
    size = (height, width)
    found = []
    for place, judged in enumerate((net, _Packed(net, graph))):
        task = DenseTask(
            _Framed(judged, size),
            heads=heads_of(feed.recipe, data),
            config=feed.recipe.dense,
            crop=data.crop,
        )
        before = place * count
        batches = _batches(
            feed, size, count, lambda done, before=before: told(before + done, 2 * count)
        )
        metrics = task.evaluate(batches)
        found.append({name: metrics[name] for name in TOLD if name in metrics})
    return ScenesTested(
        scenes=count,
        images=fitting(data.image_size, size),
        frame=size,
        torch=found[0],
        packed=found[1],
    )


def _batches(
    feed: Feed, size: Size, count: int, told: Callable[[int], None]
) -> Iterator[tuple[Tensor, Any]]:
    done = 0
    for pixels, truth in feed.test.batches(torch.arange(count).split(AT_ONCE)):
        yield normalize(scaled(pixels, size), feed.data.mean, feed.data.std), truth
        done += len(pixels)
        told(done)
